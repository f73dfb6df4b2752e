/** Lines of the last 15 minutes. */
import { useEffect, useRef } from 'preact/hooks';
import UPlot from 'uplot';
import { clockTime } from './format.js';
import { onScheme } from './scheme.js';

export interface Line {
  readonly name: string;
  /** Name of a colour of the style sheet. */
  readonly colour: string;
  readonly values: readonly (number | null)[];
}

interface ChartProps {
  readonly label: string;
  readonly atMs: readonly number[];
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
}

const HEIGHT = 120;
const AXIS_WIDTH = 52;
const AXIS_HEIGHT = 24;
/** Multiples of this many seconds have a label. */
const LABELS_S = [300];
const SPAN_S = 900;

export function Chart({ label, atMs, lines, format }: ChartProps) {
  const element = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | undefined>(undefined);
  const data = [atMs.map((ms) => ms / 1_000), ...lines.map(({ values }) => [...values])];
  const names = lines.map(({ name }) => name).join();
  useEffect(() => {
    const holder = element.current!;
    const create = () => {
      plot.current?.destroy();
      plot.current = new UPlot(optionsOf(holder, lines, format), data as UPlot.AlignedData, holder);
    };
    create();
    const resized = new ResizeObserver(() =>
      plot.current?.setSize({ width: holder.clientWidth, height: HEIGHT }),
    );
    resized.observe(holder);
    const forgetScheme = onScheme(create);
    return () => {
      forgetScheme();
      resized.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [names]);
  useEffect(() => plot.current?.setData(data as UPlot.AlignedData));
  return (
    <div class="chart" ref={element} role="img" aria-label={`${label}, the last 15 minutes`} />
  );
}

function optionsOf(
  holder: HTMLElement,
  lines: readonly Line[],
  format: (value: number) => string,
): UPlot.Options {
  const style = getComputedStyle(holder);
  const colour = (name: string) => resolve(holder, style.getPropertyValue(`--${name}`));
  const axis = {
    stroke: colour('dim'),
    grid: { stroke: colour('line'), width: 1 },
    ticks: { show: false },
    font: `11px ${style.fontFamily}`,
  };
  return {
    width: holder.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    padding: [6, 16, 0, 0],
    scales: {
      x: { range: (_, __, max) => [max - SPAN_S, max] },
      y: { range: (_, __, max) => [0, max > 0 ? 1.1 * max : 1] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: AXIS_HEIGHT,
        incrs: LABELS_S,
        values: (_, at) => at.map((s) => clockTime(1_000 * s).slice(0, 5)),
      },
      { ...axis, size: AXIS_WIDTH, values: (_, at) => at.map(format) },
    ],
    series: [
      {},
      ...lines.map(({ name, colour: of }) => ({
        label: name,
        stroke: colour(of),
        width: 1.5,
        points: { show: false },
      })),
    ],
  };
}

/** `light-dark(…)` as the colour that holds now: a canvas does not know it. */
function resolve(holder: HTMLElement, value: string): string {
  holder.style.color = value;
  const { color } = getComputedStyle(holder);
  holder.style.color = '';
  return color;
}
