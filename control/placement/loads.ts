/**
 * Load per shard, from the reports of the edges. Plans are made with it.
 *
 * The difficulty is to tell "no load" from "unknown load". An edge that has not reported, that
 * reports nonsense or that has suddenly lost all its clients is not empty: planning as if it were
 * would move the cluster's clients to the one edge about which nothing is known. So the load of a
 * shard is known only while its owner sends fresh reports that it made after it got the shard.
 * Otherwise the last known load stands, marked as unknown.
 *
 * The connections of a shard are summed over all edges, because clients that are still connected
 * elsewhere will move to the owner.
 */

import type { Assignment, EdgeIdentity } from '../../common/cluster/assignment.js';
import { comparePositions, ORIGIN, type Position } from '../../common/wire/position.js';
import type { LoadReport } from './load-report.js';

/** Each array has one entry per shard. */
export interface ShardLoads {
  /** Connections plus weighted messages per second. Never 0 or NaN: see `EMPTY_SHARD_LOAD`. */
  readonly load: Float64Array;
  readonly connections: Float64Array;
  /** 1: measured. 0: the last known load, or the mean if it was never known. */
  readonly isKnown: Uint8Array;
}

/** Older reports do not describe the present. Edges report every 2 s. */
const FRESH_MS = 10_000;
/** Time that clients need to follow a shard. Until then its old load is the better estimate. */
const FOLLOW_MS = 30_000;
/**
 * A drop to zero from at least this many connections is trusted only when it lasts for
 * `DROP_TO_ZERO_MS`. Smaller numbers of clients can disconnect at once.
 */
const DROP_TO_ZERO_CONNECTIONS_MIN = 100;
const DROP_TO_ZERO_MS = 30_000;
/** Load of a shard without clients, so that a cluster without clients is spread out, too. */
const EMPTY_SHARD_LOAD = 0.01;

interface LatestReport {
  readonly atMs: number;
  readonly report: LoadReport;
  /** When the edge first reported a suspicious drop to zero; undefined: it does not. */
  readonly droppedToZeroAtMs: number | undefined;
}

export class Loads {
  /** By edge id. */
  readonly #latest = new Map<string, LatestReport>();
  /** Per shard: the position of the assignment in which it got its owner, and when. */
  readonly #ownedUnder: Position[];
  readonly #ownedAtMs: Float64Array;
  readonly #lastLoad: Float64Array;
  readonly #lastConnections: Float64Array;
  #assignment: Assignment | undefined;

  /** @param messageWeight how many idle connections one message per second is worth */
  constructor(
    readonly shardCount: number,
    readonly messageWeight: number,
  ) {
    this.#ownedUnder = new Array<Position>(shardCount).fill(ORIGIN);
    this.#ownedAtMs = new Float64Array(shardCount).fill(Number.NEGATIVE_INFINITY);
    this.#lastLoad = new Float64Array(shardCount).fill(Number.NaN);
    this.#lastConnections = new Float64Array(shardCount).fill(Number.NaN);
  }

  /** Sets the assignment in force, by which later reports are judged. */
  onAssignment(nowMs: number, next: Assignment): void {
    const before = this.#assignment;
    this.#assignment = next;
    if (before === undefined) {
      // It is unknown how long its owners have had their shards; clients may still be connecting.
      this.#ownedAtMs.fill(nowMs);
      return;
    }
    // A new process under the same id counts as a new owner: its clients are still reconnecting.
    const process = ({ id, incarnation }: EdgeIdentity) => `${id} ${incarnation}`;
    const [was, is] = [before.edges.map(process), next.edges.map(process)];
    for (let shard = 0; shard < this.shardCount; shard++) {
      if (was[before.owners[shard]!] === is[next.owners[shard]!]) continue;
      this.#ownedUnder[shard] = next.position;
      this.#ownedAtMs[shard] = nowMs;
    }
    const ids = new Set(next.edges.map(({ id }) => id));
    for (const edgeId of this.#latest.keys()) {
      if (!ids.has(edgeId)) this.#latest.delete(edgeId);
    }
  }

  /** @param report undefined when it was implausible */
  onReport(nowMs: number, edgeId: string, report: LoadReport | undefined): void {
    if (report === undefined) {
      this.#latest.delete(edgeId);
      return;
    }
    const before = this.#latest.get(edgeId);
    if (before !== undefined && comparePositions(report.under, before.report.under) < 0) return;
    const isDrop =
      report.connections === 0 &&
      before !== undefined &&
      (before.droppedToZeroAtMs !== undefined ||
        before.report.connections >= DROP_TO_ZERO_CONNECTIONS_MIN);
    const droppedToZeroAtMs = isDrop ? (before.droppedToZeroAtMs ?? nowMs) : undefined;
    this.#latest.set(edgeId, { atMs: nowMs, report, droppedToZeroAtMs });
  }

  /** Whether the edge sends reports, and they can be trusted. */
  isEdgeKnown(nowMs: number, edgeId: string): boolean {
    const latest = this.#latest.get(edgeId);
    return latest !== undefined && isTrusted(nowMs, latest);
  }

  measure(nowMs: number): ShardLoads {
    const { shardCount } = this;
    const load = new Float64Array(shardCount);
    const connections = new Float64Array(shardCount);
    for (const latest of this.#latest.values()) {
      if (!isTrusted(nowMs, latest)) continue;
      for (const one of latest.report.shards) {
        connections[one.shard]! += one.connections;
        load[one.shard]! += one.connections + this.messageWeight * one.messagesPerSecond;
      }
    }
    const isKnown = new Uint8Array(shardCount);
    for (let shard = 0; shard < shardCount; shard++) {
      if (!this.#isShardKnown(nowMs, shard)) continue;
      isKnown[shard] = 1;
      this.#lastLoad[shard] = load[shard]!;
      this.#lastConnections[shard] = connections[shard]!;
    }
    const [meanLoad, meanConnections] = [meanOf(this.#lastLoad), meanOf(this.#lastConnections)];
    for (let shard = 0; shard < shardCount; shard++) {
      const wasNeverKnown = Number.isNaN(this.#lastLoad[shard]!);
      load[shard] = Math.max(EMPTY_SHARD_LOAD, wasNeverKnown ? meanLoad : this.#lastLoad[shard]!);
      connections[shard] = wasNeverKnown ? meanConnections : this.#lastConnections[shard]!;
    }
    return { load, connections, isKnown };
  }

  #isShardKnown(nowMs: number, shard: number): boolean {
    if (nowMs < this.#ownedAtMs[shard]! + FOLLOW_MS) return false;
    const owner = this.#assignment?.edges[this.#assignment.owners[shard]!];
    if (owner === undefined || !this.isEdgeKnown(nowMs, owner.id)) return false;
    const { under } = this.#latest.get(owner.id)!.report;
    return comparePositions(under, this.#ownedUnder[shard]!) >= 0;
  }
}

function isTrusted(nowMs: number, { atMs, droppedToZeroAtMs }: LatestReport): boolean {
  const isFresh = nowMs <= atMs + FRESH_MS;
  return isFresh && !(nowMs < (droppedToZeroAtMs ?? -Infinity) + DROP_TO_ZERO_MS);
}

/** Mean of the known values (not NaN); 0 when none is known. */
function meanOf(values: Float64Array): number {
  let sum = 0;
  let count = 0;
  for (const value of values) {
    if (Number.isNaN(value)) continue;
    sum += value;
    count++;
  }
  return count === 0 ? 0 : sum / count;
}
