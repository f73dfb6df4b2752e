/**
 * The other edges that may have clients of a shard, as an edge of it knows them: edges with guests,
 * and edges that have lost the shard and still have its clients. Redis counts only edges that are
 * subscribed. While one of these is not, the owner cannot know that a client is offline.
 *
 * An edge that does not own a shard announces its clients of it, repeats every few seconds that it
 * has some, and says so when it has none any more. An edge that is silent for a minute, or is not
 * in the assignment any more, is forgotten. The edge that hands a shard over counts until it says
 * that it has left, also if it cannot reach Redis and has announced nothing. It passes on what it
 * knows, as a new owner has not heard what was said before. Pure.
 *
 * Bound: `EDGES_PER_SHARD_MAX`; further ones are not known.
 */
import type { Assignment } from '../../common/cluster/assignment.js';
import type { Metrics } from '../../common/process/metrics.js';

export const EDGES_PER_SHARD_MAX = 16;
export const SILENT_MS_MAX = 60_000;

/** Shared: most shards have none. */
const NO_EDGES: string[] = [];

export class OtherEdges {
  /** By shard and incarnation of the edge: when it was heard last. */
  readonly #heard = new Map<number, Map<string, number>>();
  /** Ids of the edges of the assignment by their incarnations. */
  #ids: ReadonlyMap<string, string> = new Map();
  /** By shard that is handed over to this edge: the incarnation of the edge that owned it. */
  #handedOver: ReadonlyMap<number, string> = new Map();

  constructor(
    readonly edgeId: string,
    metrics: Metrics,
  ) {
    metrics.gauge(
      'longline_edge_shards_with_clients_elsewhere',
      'Subscribed shards of which another edge may have clients, too',
      () => this.#heard.size,
    );
  }

  /** To be called before the shards of the assignment become this edge's own. */
  assign({ edges, moves }: Assignment, nowMs: number): void {
    const incarnations = new Map(edges.map(({ id, incarnation }) => [id, incarnation]));
    const ids = new Map(edges.map(({ id, incarnation }) => [incarnation, id]));
    for (const edge of this.#ids.keys()) if (!ids.has(edge)) this.#forgetEdge(edge);
    this.#ids = ids;
    const handedOver = new Map<number, string>();
    for (const { shard, from, to, phase } of moves) {
      if (phase !== 'handing-over' || to !== this.edgeId) continue;
      const edge = incarnations.get(from)!;
      handedOver.set(shard, edge);
      if (this.#handedOver.get(shard) !== edge) this.onHeard(shard, edge, nowMs);
    }
    this.#handedOver = handedOver;
  }

  /** The edge has clients of the shard. */
  onHeard(shard: number, edge: string, nowMs: number): void {
    const heard = this.#heard.get(shard) ?? new Map<string, number>();
    if (!heard.has(edge) && heard.size >= EDGES_PER_SHARD_MAX) return;
    heard.set(edge, nowMs);
    this.#heard.set(shard, heard);
  }

  /** The edge has no client of the shard any more. */
  onLeft(shard: number, edge: string): void {
    const heard = this.#heard.get(shard);
    heard?.delete(edge);
    if (heard?.size === 0) this.#heard.delete(shard);
  }

  /** This edge is not subscribed to the shard any more. */
  forget(shard: number): void {
    this.#heard.delete(shard);
  }

  /** To be called about once a second. */
  forgetSilent(nowMs: number): void {
    for (const [shard, heard] of this.#heard) {
      for (const [edge, heardMs] of heard) {
        if (this.#handedOver.get(shard) === edge) heard.set(edge, nowMs);
        else if (nowMs > heardMs + SILENT_MS_MAX) this.onLeft(shard, edge);
      }
    }
  }

  countOf(shard: number): number {
    return this.#heard.get(shard)?.size ?? 0;
  }

  /** Incarnations. */
  of(shard: number): string[] {
    const heard = this.#heard.get(shard);
    return heard === undefined ? NO_EDGES : [...heard.keys()];
  }

  /** An edge that no assignment has named yet has its incarnation as its id. */
  idsOf(shard: number): string[] {
    const heard = this.#heard.get(shard);
    if (heard === undefined) return NO_EDGES;
    return Array.from(heard.keys(), (edge) => this.#ids.get(edge) ?? edge);
  }

  #forgetEdge(edge: string): void {
    for (const shard of this.#heard.keys()) this.onLeft(shard, edge);
  }
}
