/**
 * Rates and latencies of the cluster in the last 15 minutes, one point every five seconds. Edges
 * and routers report totals since their start; a point has the differences since the one before. So
 * a lost report only shifts what it counts. Kept by the leader in memory: a new leader begins a new
 * history. Pure: the time is an argument.
 */
import type { RouterLoad } from '../../proto/gen/longline/v1/assignment.js';
import type { EdgeRecord } from '../membership/edge-record.js';

export const POINT_MS = 5_000;
export const POINTS_MAX = 180;
/** Routers that the history knows; more are not counted. */
export const ROUTERS_MAX = 1_000;
/** A router reports every five seconds. */
const ROUTER_SILENT_MS = 30_000;

export interface HistoryPoint {
  /** Time of the monotonic clock. */
  readonly atMs: number;
  readonly connections: number;
  readonly connectsPerSecond: number;
  readonly eventsPerSecond: number;
  /** By verdict. */
  readonly pushesPerSecond: Readonly<Record<string, number>>;
  /** Seconds from request to verdict. Undefined: there was no push. */
  readonly p50: number | undefined;
  readonly p99: number | undefined;
}

export interface RouterRecord {
  readonly load: RouterLoad;
  readonly heardAtMs: number;
}

export class LoadHistory {
  readonly #points: HistoryPoint[] = [];
  readonly #routers = new Map<string, RouterRecord>();
  readonly #opened = new Totals();
  readonly #pushes = new Totals();
  #latencies = new Map<number, number>();
  #verdicts = new Map<string, number>();
  #events = 0;
  #startedAtMs: number;

  constructor(nowMs: number) {
    this.#startedAtMs = nowMs;
  }

  /** Oldest first. */
  get points(): readonly HistoryPoint[] {
    return this.#points;
  }

  get routers(): readonly RouterRecord[] {
    return [...this.#routers.values()];
  }

  onEvent(): void {
    this.#events++;
  }

  onRouter(load: RouterLoad, nowMs: number): void {
    const { incarnation } = load;
    if (!this.#routers.has(incarnation) && this.#routers.size >= ROUTERS_MAX) return;
    this.#routers.set(incarnation, { load, heardAtMs: nowMs });
    const added = (name: string | number, total: number) =>
      this.#pushes.add(incarnation, name, total);
    for (const { verdict, pushes } of load.verdicts)
      addTo(this.#verdicts, verdict, added(verdict, pushes));
    for (const { seconds, pushes } of load.latencies)
      addTo(this.#latencies, seconds, added(seconds, pushes));
  }

  /** To be called about once per second. */
  tick(edges: readonly EdgeRecord[], nowMs: number): void {
    const ms = nowMs - this.#startedAtMs;
    if (ms < POINT_MS) return;
    const perSecond = (count: number) => (1_000 * count) / ms;
    let connections = 0;
    let opened = 0;
    for (const { incarnation, counts } of edges) {
      connections += counts?.connections ?? 0;
      if (counts?.connectionsOpened === undefined) continue;
      opened += this.#opened.add(incarnation, '', counts.connectionsOpened);
    }
    this.#points.push({
      atMs: nowMs,
      connections,
      connectsPerSecond: perSecond(opened),
      eventsPerSecond: perSecond(this.#events),
      pushesPerSecond: Object.fromEntries(
        Array.from(this.#verdicts, ([verdict, count]) => [verdict, perSecond(count)]),
      ),
      p50: quantile(this.#latencies, 0.5),
      p99: quantile(this.#latencies, 0.99),
    });
    if (this.#points.length > POINTS_MAX) this.#points.shift();
    this.#latencies = new Map();
    this.#verdicts = new Map();
    this.#events = 0;
    this.#startedAtMs = nowMs;
    this.#forget(edges, nowMs);
  }

  #forget(edges: readonly EdgeRecord[], nowMs: number): void {
    this.#opened.keepOnly(new Set(edges.map(({ incarnation }) => incarnation)));
    for (const [incarnation, { heardAtMs }] of this.#routers) {
      if (nowMs - heardAtMs > ROUTER_SILENT_MS) this.#routers.delete(incarnation);
    }
    this.#pushes.keepOnly(this.#routers);
  }
}

/** Totals of processes, by incarnation and name. */
class Totals {
  readonly #last = new Map<string, Map<string | number, number>>();

  /** Returns by how much a total has grown. The first one may be old: it counts as 0. */
  add(incarnation: string, name: string | number, total: number): number {
    const last = this.#last.get(incarnation) ?? new Map<string | number, number>();
    this.#last.set(incarnation, last);
    const grown = total - (last.get(name) ?? total);
    last.set(name, total);
    return Math.max(0, grown);
  }

  keepOnly(incarnations: { has(incarnation: string): boolean }): void {
    for (const each of this.#last.keys()) if (!incarnations.has(each)) this.#last.delete(each);
  }
}

function addTo<Key>(counts: Map<Key, number>, key: Key, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count);
}

/**
 * As Prometheus' `histogram_quantile`: within a bucket, values count as spread evenly; those above
 * the last bound count as that bound.
 * @param counts by the upper bound of a bucket; `Infinity` for the last one
 */
export function quantile(counts: ReadonlyMap<number, number>, share: number): number | undefined {
  const buckets = [...counts].sort(([a], [b]) => a - b);
  const rank = share * buckets.reduce((sum, [, count]) => sum + count, 0);
  if (rank === 0) return undefined;
  let below = 0;
  let from = 0;
  for (const [to, count] of buckets) {
    if (below + count >= rank && count > 0) {
      return to === Number.POSITIVE_INFINITY ? from : from + ((to - from) * (rank - below)) / count;
    }
    below += count;
    if (to !== Number.POSITIVE_INFINITY) from = to;
  }
  return from;
}
