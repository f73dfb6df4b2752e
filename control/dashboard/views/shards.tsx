/** All shards as a map, coloured by edge or by load. Moves are visible as they happen. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { ShardMapResponse, ShardsResponse } from '../../operator/cluster-responses.js';
import type { MovesResponse } from '../../operator/operation-responses.js';
import { call } from '../api.js';
import { number, plural, UNKNOWN } from '../format.js';
import { type Route, setOption, useFeed } from '../live.js';
import { Card, Fact, Facts, Loaded, Note, Search } from '../parts.js';
import { onScheme } from '../scheme.js';

type Move = MovesResponse['inFlight'][number];

/** Moves show the changes between two polls. */
const POLL_MS = 5_000;
const HEIGHT_MAX = 560;
const CELL = { min: 5, max: 44 };
/** Colours of neighbours differ: a full turn divided by the golden ratio. */
const HUE_STEP = 222.5;
const LEGEND_MAX = 24;
/** Colours by load: more cannot be told apart. */
const LOAD_STEPS = 32;
/** Opacity of shards that a search does not find. */
const FAINT = 0.12;

export function ShardsView({ route }: { route: Route }) {
  const shards = useFeed<ShardMapResponse>('v1/shard-map', POLL_MS);
  const moves = useFeed<MovesResponse>('v1/moves', 1_000);
  const by = route.query.get('by') ?? 'edge';
  const text = route.query.get('q') ?? '';
  return (
    <Loaded feed={shards}>
      {(map) => (
        <>
          <div class="tools">
            <fieldset>
              <legend class="hidden">Colour</legend>
              {['edge', 'load'].map((name) => (
                <label key={name} class="choice">
                  <input
                    type="radio"
                    name="by"
                    checked={by === name}
                    onChange={() => setOption('by', name === 'edge' ? '' : name)}
                  />
                  By {name}
                </label>
              ))}
            </fieldset>
            <Search
              label="Only the shards of an edge"
              value={text}
              onSearch={(value) => setOption('q', value)}
              isInstant
            />
            <span class="hint">
              {plural(map.owners.length, 'shard')},{' '}
              {plural(moves.data?.inFlight.length ?? 0, 'move')} in progress
            </span>
          </div>
          <ShardMap
            map={map}
            moves={moves.data?.inFlight ?? []}
            by={by}
            text={text}
            selected={route.id}
          />
        </>
      )}
    </Loaded>
  );
}

interface MapProps {
  readonly map: ShardMapResponse;
  readonly moves: readonly Move[];
  readonly by: string;
  readonly text: string;
  readonly selected: string;
}

function ShardMap({ map, moves, by, text, selected }: MapProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const width = useWidth(canvas);
  const scheme = useScheme();
  const [hovered, setHovered] = useState<number>();
  const count = map.owners.length;
  const isInvalid = selected !== '' && !(/^\d+$/.test(selected) && Number(selected) < count);
  const shown = hovered ?? (selected === '' || isInvalid ? undefined : Number(selected));
  const { cell, columns } = gridOf(count, width);
  // Most answers change nothing that is drawn, and to draw thousands of cells takes several frames.
  const owners = useSame(map.owners);
  const edges = useSame(map.edges);
  const loads = useSame(by === 'load' ? map.connections : []);
  const moving = useSame(moves.map(({ shard, from, to }) => `${shard} ${from} ${to}`));
  useEffect(() => {
    if (width > 0)
      draw(canvas.current!, { cell, columns }, width, { owners, edges, loads, moves, text });
  }, [cell, columns, width, scheme, owners, edges, loads, moving, text]);
  const onKey = (event: KeyboardEvent) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    setHovered(Math.min(count - 1, Math.max(0, (shown ?? 0) + step)));
  };
  const shardAt = ({ offsetX, offsetY }: MouseEvent) => {
    const shard = Math.floor(offsetY / cell) * columns + Math.floor(offsetX / cell);
    return offsetX < columns * cell && shard < count ? shard : undefined;
  };
  /** A tap has no hover before it. */
  const onClick = (event: MouseEvent) => {
    const shard = shardAt(event);
    const [, query] = location.hash.split('?', 2);
    if (shard !== undefined) location.hash = `#/shards/${shard}${query ? `?${query}` : ''}`;
  };
  return (
    <Card class="map">
      <div class="cells">
        <canvas
          ref={canvas}
          tabIndex={0}
          role="img"
          aria-label="Map of all shards. The arrow keys select one; what it is stands below."
          onKeyDown={onKey}
          onPointerMove={(event) => setHovered(shardAt(event))}
          onPointerLeave={() => setHovered(undefined)}
          onClick={onClick}
        />
        {shown !== undefined && (
          <i
            style={{
              left: `${(shown % columns) * cell}px`,
              top: `${Math.floor(shown / columns) * cell}px`,
              width: `${cell - 1}px`,
              height: `${cell - 1}px`,
            }}
          />
        )}
      </div>
      {isInvalid && (
        <Note level="warn">
          There is no shard {selected}: their numbers are 0 to {count - 1}.
        </Note>
      )}
      <Details map={map} shard={shown} move={moves.find(({ shard }) => shard === shown)} />
      {by === 'edge' && map.edges.length <= LEGEND_MAX && (
        <ul class="legend">
          {map.edges.map((owner, i) => (
            <li key={owner}>
              <i style={{ background: hue(i) }} />
              <a href={`#/edges/${owner}`}>{owner}</a>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

interface DetailsProps {
  readonly map: ShardMapResponse;
  readonly shard: number | undefined;
  readonly move: Move | undefined;
}

function Details({ map, shard, move }: DetailsProps) {
  const channels = useChannels(shard !== undefined);
  if (shard === undefined)
    return <Note>Point at a shard or tap it, or select one with the arrow keys.</Note>;
  const owner = ownerOf(map, shard);
  return (
    <div aria-live="polite">
      <Facts>
        <Fact name="Shard">{shard}</Fact>
        <Fact name="Owner">
          {owner === null ? 'none' : <a href={`#/edges/${owner}`}>{owner}</a>}
        </Fact>
        <Fact name="Clients">
          <a href={`#/clients?shard=${shard}`}>{number(map.connections[shard])}</a>
        </Fact>
        <Fact name="Pushes a second" title="Written to devices, smoothed over about a minute">
          {map.pushesPerSecond[shard] ?? UNKNOWN}
        </Fact>
        <Fact name="Epoch" title="Of the assignment in which it got its owner, or lost it">
          <OwnedSince since={map.versions[map.ownedSince[shard]!]} />
        </Fact>
        <Fact name="Channel">
          <code>{channels[shard] ?? UNKNOWN}</code>
        </Fact>
        <Fact name="Move">{move ? `${move.from} → ${move.to}, ${move.phase}` : 'none'}</Fact>
      </Facts>
    </div>
  );
}

function OwnedSince({ since }: { since: ShardMapResponse['versions'][number] | undefined }) {
  if (since === undefined) return <small>before control started</small>;
  return (
    <>
      {since.epoch} <small>of incarnation {since.incarnation}</small>
    </>
  );
}

function ownerOf({ edges, owners }: ShardMapResponse, shard: number): string | null {
  return edges[owners[shard]!] ?? null;
}

/** Channels by shard: larger than the rest, and they never change. */
function useChannels(isShown: boolean): readonly string[] {
  const [channels, setChannels] = useState<readonly string[]>([]);
  useEffect(() => {
    if (!isShown || channels.length > 0) return;
    call<ShardsResponse>('v1/shards')
      .then(({ shards }) => setChannels(shards.map(({ channel }) => channel)))
      .catch(() => {});
  }, [isShown, channels]);
  return channels;
}

interface Grid {
  readonly cell: number;
  readonly columns: number;
}

function gridOf(count: number, width: number): Grid {
  const fitting = Math.floor(Math.sqrt((width * HEIGHT_MAX) / (count || 1)));
  const cell = Math.min(CELL.max, Math.max(CELL.min, fitting));
  return { cell, columns: Math.max(1, Math.floor(width / cell)) };
}

const hue = (i: number) => `oklch(0.7 0.12 ${(i * HUE_STEP) % 360})`;
const NO_OWNER_COLOUR = '#888';

interface Scene {
  readonly owners: readonly number[];
  readonly edges: readonly string[];
  /** Connections by shard; empty: the colours are those of edges. */
  readonly loads: readonly (number | null)[];
  readonly moves: readonly Move[];
  /** Shards of edges without it are faint. */
  readonly text: string;
}

/** Returns the colour of a shard on an edge, which is an index; -1: none. */
function colourOf({ edges, loads }: Scene): (shard: number, edge: number) => string {
  if (loads.length === 0) {
    const colours = edges.map((_, i) => hue(i));
    return (_, edge) => colours[edge] ?? NO_OWNER_COLOUR;
  }
  const most = loads.reduce<number>((max, each) => Math.max(max, each ?? 0), 1);
  const steps = Array.from({ length: LOAD_STEPS + 1 }, (_, step) => {
    return `oklch(0.62 0.13 235 / ${0.08 + (0.92 * step) / LOAD_STEPS})`;
  });
  return (shard) => steps[Math.ceil((LOAD_STEPS * (loads[shard] ?? 0)) / most)]!;
}

function draw(
  canvas: HTMLCanvasElement,
  { cell, columns }: Grid,
  width: number,
  scene: Scene,
): void {
  const { owners, edges, moves, text } = scene;
  const height = Math.ceil(owners.length / columns) * cell;
  const scale = devicePixelRatio;
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext('2d')!;
  context.scale(scale, scale);
  const size = cell - 1;
  const placeOf = (shard: number): [x: number, y: number] => [
    (shard % columns) * cell,
    Math.floor(shard / columns) * cell,
  ];
  const colour = colourOf(scene);
  const isFound = edges.map((id) => id.includes(text));
  const moveOf = new Map(moves.map((move) => [move.shard, move]));
  const indexes = new Map(edges.map((id, i) => [id, i]));
  // Grouped: to set a colour takes longer than to fill a cell.
  const found = new Map<string, number[]>();
  const faint = new Map<string, number[]>();
  for (const [shard, owner] of owners.entries()) {
    const { from, to } = moveOf.get(shard) ?? {};
    const isBright = text === '' || isFound[owner] || to?.includes(text);
    const groups = isBright ? found : faint;
    const key = colour(shard, from === undefined ? owner : (indexes.get(from) ?? -1));
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [shard]);
    else group.push(shard);
  }
  for (const groups of [found, faint]) {
    context.globalAlpha = groups === found ? 1 : FAINT;
    for (const [fill, shards] of groups) {
      context.fillStyle = fill;
      for (const shard of shards) context.fillRect(...placeOf(shard), size, size);
    }
  }
  context.globalAlpha = 1;
  context.strokeStyle = getComputedStyle(canvas).color;
  for (const { shard, to } of moves) {
    const [x, y] = placeOf(shard);
    // The receiving edge takes half of the cell.
    context.fillStyle = colour(shard, indexes.get(to) ?? -1);
    context.fillRect(x + size / 2, y, size / 2, size);
    context.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
  }
}

/** Returns the previous array while its elements are the same. */
function useSame<Value>(next: readonly Value[]): readonly Value[] {
  const last = useRef(next);
  const { current } = last;
  const isSame = current.length === next.length && next.every((value, i) => value === current[i]);
  if (!isSame) last.current = next;
  return last.current;
}

/** Changes with the colours of the page. */
function useScheme(): number {
  const [changes, setChanges] = useState(0);
  useEffect(() => onScheme(() => setChanges((count) => count + 1)), []);
  return changes;
}

/** Width of an element, also after it is resized. */
function useWidth(element: { readonly current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) =>
      setWidth(Math.floor(entry!.contentRect.width)),
    );
    observer.observe(element.current!);
    return () => observer.disconnect();
  }, [element]);
  return width;
}
