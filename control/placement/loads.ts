/**
 * Loads: what each shard weighs, as far as it is known. Control plans with it; nobody else needs it.
 *
 * The hard thing is to tell "nothing" from "not known". An edge that has not reported, that reports
 * nonsense, or that has suddenly lost all its clients is not empty: planning as if it were would
 * move the cluster's clients to the one edge that nobody knows anything about. So a shard is
 * *known* only while its owner's fresh report, made after it got the shard, says so; else its last
 * known load stands, marked as what it is.
 *
 * A shard's connections are summed over all edges: those that are still elsewhere come home.
 */
import {
  type Assignment,
  comparePositions,
  type EdgeIdentity,
  ORIGIN,
  type Position,
} from '../../common/cluster/assignment.js';

export interface ShardReport {
  readonly shard: number;
  readonly connections: number;
  readonly messagesPerSecond: number;
}

export interface LoadReport {
  /** The assignment that the edge had when it counted. */
  readonly under: Position;
  readonly connections: number;
  /** Only shards with at least one connection, each once. */
  readonly shards: readonly ShardReport[];
}

/** Each array has one entry per shard. */
export interface ShardLoads {
  /** Connections and, by weight, messages. Never 0 or NaN: see `EMPTY_SHARD`. */
  readonly load: Float64Array;
  readonly connections: Float64Array;
  /** 1: measured. 0: the last known, or the mean if never known. */
  readonly isKnown: Uint8Array;
}

/** Older reports say nothing of now. Edges report every 2 s. */
const FRESH_MS = 10_000;
/** How long clients take to follow a shard: until then, its old load is the better guess. */
const FOLLOW_MS = 30_000;
/** A crowd that vanishes at once is believed only when it stays away. Smaller ones may do so. */
const CROWD = 100;
const CROWD_GONE_MS = 30_000;
/** Shards without clients weigh a little, so that a cluster without clients is spread out too. */
const EMPTY_SHARD = 0.01;

interface Heard {
  readonly atMs: number;
  readonly report: LoadReport;
  /** Since when the edge says that its crowd is gone; undefined: it does not. */
  readonly crowdGoneAtMs: number | undefined;
}

export class Loads {
  readonly #heard = new Map<string, Heard>();
  /** Per shard: the position and the moment at which it got its owner. */
  readonly #ownedUnder: Position[];
  readonly #ownedAtMs: Float64Array;
  readonly #lastLoad: Float64Array;
  readonly #lastConnections: Float64Array;
  #table: Assignment | undefined;

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

  /** The assignment in force; from now on reports are judged by it. */
  follow(nowMs: number, table: Assignment): void {
    const before = this.#table;
    this.#table = table;
    if (before === undefined) {
      // When its shards were given out is not known; perhaps clients have only begun to come.
      this.#ownedAtMs.fill(nowMs);
      return;
    }
    // The clients of a process that has been replaced are on their way back to it.
    const process = ({ id, incarnation }: EdgeIdentity) => `${id} ${incarnation}`;
    const [was, is] = [before.edges.map(process), table.edges.map(process)];
    for (let shard = 0; shard < this.shardCount; shard++) {
      if (was[before.owners[shard]!] === is[table.owners[shard]!]) continue;
      this.#ownedUnder[shard] = table.position;
      this.#ownedAtMs[shard] = nowMs;
    }
    for (const edgeId of this.#heard.keys()) {
      if (!table.edges.some(({ id }) => id === edgeId)) this.#heard.delete(edgeId);
    }
  }

  /** @param report undefined when it made no sense */
  hear(nowMs: number, edgeId: string, report: LoadReport | undefined): void {
    if (report === undefined) {
      this.#heard.delete(edgeId);
      return;
    }
    const before = this.#heard.get(edgeId);
    if (before !== undefined && comparePositions(report.under, before.report.under) < 0) return;
    const isCrowdGone =
      report.connections === 0 &&
      before !== undefined &&
      (before.crowdGoneAtMs !== undefined || before.report.connections >= CROWD);
    const crowdGoneAtMs = isCrowdGone ? (before.crowdGoneAtMs ?? nowMs) : undefined;
    this.#heard.set(edgeId, { atMs: nowMs, report, crowdGoneAtMs });
  }

  /** The edge reports, and its reports make sense. */
  isEdgeKnown(nowMs: number, edgeId: string): boolean {
    const heard = this.#heard.get(edgeId);
    return heard !== undefined && isBelieved(nowMs, heard);
  }

  measure(nowMs: number): ShardLoads {
    const { shardCount } = this;
    const load = new Float64Array(shardCount);
    const connections = new Float64Array(shardCount);
    for (const heard of this.#heard.values()) {
      if (!isBelieved(nowMs, heard)) continue;
      for (const one of heard.report.shards) {
        connections[one.shard]! += one.connections;
        load[one.shard]! += one.connections + this.messageWeight * one.messagesPerSecond;
      }
    }
    const isKnown = new Uint8Array(shardCount);
    for (let shard = 0; shard < shardCount; shard++) {
      if (!this.#knows(nowMs, shard)) continue;
      isKnown[shard] = 1;
      this.#lastLoad[shard] = load[shard]!;
      this.#lastConnections[shard] = connections[shard]!;
    }
    const [meanLoad, meanConnections] = [meanOf(this.#lastLoad), meanOf(this.#lastConnections)];
    for (let shard = 0; shard < shardCount; shard++) {
      const isNew = Number.isNaN(this.#lastLoad[shard]!);
      load[shard] = Math.max(EMPTY_SHARD, isNew ? meanLoad : this.#lastLoad[shard]!);
      connections[shard] = isNew ? meanConnections : this.#lastConnections[shard]!;
    }
    return { load, connections, isKnown };
  }

  #knows(nowMs: number, shard: number): boolean {
    if (nowMs < this.#ownedAtMs[shard]! + FOLLOW_MS) return false;
    const owner = this.#table?.edges[this.#table.owners[shard]!];
    if (owner === undefined || !this.isEdgeKnown(nowMs, owner.id)) return false;
    const { under } = this.#heard.get(owner.id)!.report;
    return comparePositions(under, this.#ownedUnder[shard]!) >= 0;
  }
}

/** What is impossible about a report. Whoever sends it lives, but its load is unknown. */
export function findReportProblem(
  report: LoadReport,
  shardCount: number,
  capacity: number,
): string | undefined {
  const { connections, shards } = report;
  if (!isCount(connections)) return `${connections} connections`;
  if (connections > capacity) return `${connections} connections where ${capacity} fit`;
  const seen = new Set<number>();
  let sum = 0;
  for (const one of shards) {
    if (!Number.isInteger(one.shard) || one.shard < 0 || one.shard >= shardCount) {
      return `shard ${one.shard} of ${shardCount}`;
    }
    if (seen.has(one.shard)) return `shard ${one.shard} twice`;
    if (!isCount(one.connections)) return `${one.connections} connections of shard ${one.shard}`;
    if (!(one.messagesPerSecond >= 0 && one.messagesPerSecond < Number.POSITIVE_INFINITY)) {
      return `${one.messagesPerSecond} messages a second of shard ${one.shard}`;
    }
    seen.add(one.shard);
    sum += one.connections;
  }
  if (sum !== connections) return `${connections} connections, of which ${sum} have a shard`;
  return undefined;
}

function isBelieved(nowMs: number, { atMs, crowdGoneAtMs }: Heard): boolean {
  return nowMs <= atMs + FRESH_MS && !(nowMs < (crowdGoneAtMs ?? -Infinity) + CROWD_GONE_MS);
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** Of what is known; 0 when nothing is. */
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
