/** All shards as a map, coloured by edge or by load. Moves are visible as they happen. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { ShardMapResponse, ShardsResponse } from '../../operator/cluster-responses.js';
import type { MovesResponse } from '../../operator/operation-responses.js';
import { call } from '../api.js';
import { number, plural, UNKNOWN } from '../format.js';
import { type Route, setOption, useFeed } from '../live.js';
import { Card, Fact, Facts, Loaded, Note, Search } from '../parts.js';

type Move = MovesResponse['inFlight'][number];

/** Moves tell what changes meanwhile. */
const POLL_MS = 5_000;
const HEIGHT_MAX = 560;
const CELL = { min: 5, max: 44 };
/** Colours of neighbours differ: a full turn divided by the golden ratio. */
const HUE_STEP = 222.5;
const LEGEND_MAX = 24;

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
  const [hovered, setHovered] = useState<number>();
  const shown = hovered ?? (/^\d+$/.test(selected) ? Number(selected) : undefined);
  const count = map.owners.length;
  const grid = gridOf(count, width);
  const moving = useMemo(() => new Map(moves.map((move) => [move.shard, move])), [moves]);
  useEffect(() => {
    if (canvas.current && width > 0) {
      draw(canvas.current, grid, width, map, {
        colour: colourOf(by, map),
        moving,
        text,
        shown,
      });
    }
  });
  const onKey = (event: KeyboardEvent) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns }[
      event.key
    ];
    if (step === undefined) return;
    event.preventDefault();
    setHovered(Math.min(count - 1, Math.max(0, (shown ?? 0) + step)));
  };
  const onPointer = ({ offsetX, offsetY }: PointerEvent) => {
    const shard = Math.floor(offsetY / grid.cell) * grid.columns + Math.floor(offsetX / grid.cell);
    setHovered(offsetX < grid.columns * grid.cell && shard < count ? shard : undefined);
  };
  return (
    <Card class="map">
      <canvas
        ref={canvas}
        tabIndex={0}
        role="img"
        aria-label="Map of all shards. The arrow keys select one; what it is stands below."
        onKeyDown={onKey}
        onPointerMove={onPointer}
        onPointerLeave={() => setHovered(undefined)}
        onClick={() => {
          if (hovered !== undefined)
            location.hash = `#/shards/${hovered}?${location.hash.split('?')[1] ?? ''}`;
        }}
      />
      <Details
        map={map}
        shard={shown !== undefined && shown < count ? shown : undefined}
        move={moving.get(shown ?? -1)}
      />
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
  if (shard === undefined) return <Note>Point at a shard, or select one with the arrow keys.</Note>;
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

function colourOf(
  by: string,
  { edges, connections }: ShardMapResponse,
): (shard: number, owner: string | null) => string {
  if (by === 'load') {
    const most = Math.max(1, ...connections.map((each) => each ?? 0));
    return (shard) => `oklch(0.62 0.13 235 / ${0.08 + (0.92 * (connections[shard] ?? 0)) / most})`;
  }
  const hues = new Map(edges.map((edge, i) => [edge, hue(i)]));
  return (_, owner) => hues.get(owner ?? '') ?? '#888';
}

interface Look {
  readonly colour: (shard: number, owner: string | null) => string;
  readonly moving: ReadonlyMap<number, Move>;
  readonly text: string;
  readonly shown: number | undefined;
}

function draw(
  canvas: HTMLCanvasElement,
  { cell, columns }: Grid,
  width: number,
  map: ShardMapResponse,
  { colour, moving, text, shown }: Look,
): void {
  const height = Math.ceil(map.owners.length / columns) * cell;
  const scale = devicePixelRatio;
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext('2d')!;
  context.scale(scale, scale);
  const ink = getComputedStyle(canvas).color;
  const size = cell - 1;
  for (let shard = 0; shard < map.owners.length; shard++) {
    const [x, y] = [(shard % columns) * cell, Math.floor(shard / columns) * cell];
    const move = moving.get(shard);
    const owner = ownerOf(map, shard);
    context.globalAlpha =
      text === '' || owner?.includes(text) || move?.to.includes(text) ? 1 : 0.12;
    context.fillStyle = colour(shard, move?.from ?? owner);
    context.fillRect(x, y, size, size);
    if (move !== undefined) {
      // The receiving edge takes half of the cell.
      context.fillStyle = colour(shard, move.to);
      context.fillRect(x + size / 2, y, size / 2, size);
    }
    if (move === undefined && shard !== shown) continue;
    context.globalAlpha = 1;
    context.strokeStyle = ink;
    context.lineWidth = shard === shown ? 2 : 1;
    context.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
  }
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
