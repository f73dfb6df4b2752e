/** Load reports of edges, and the check that a report is plausible. */
import type { Position } from '../../common/wire/position.js';

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

/**
 * Returns why a report is implausible; undefined: it is plausible. An edge that sends an
 * implausible report is alive, but its load is unknown.
 */
export function findReportProblem(
  report: LoadReport,
  shardCount: number,
  capacity: number,
): string | undefined {
  const { connections, shards } = report;
  if (!isCount(connections)) return `${connections} connections is not a count`;
  if (connections > capacity) return `${connections} connections; the capacity is ${capacity}`;
  const seen = new Set<number>();
  let sum = 0;
  for (const one of shards) {
    const problem = findShardProblem(one, shardCount);
    if (problem !== undefined) return problem;
    if (seen.has(one.shard)) return `shard ${one.shard} is listed twice`;
    seen.add(one.shard);
    sum += one.connections;
  }
  if (sum !== connections) return `${connections} connections; those of the shards sum to ${sum}`;
  return undefined;
}

function findShardProblem(
  { shard, connections, messagesPerSecond }: ShardReport,
  shardCount: number,
): string | undefined {
  if (!Number.isInteger(shard) || shard < 0 || shard >= shardCount) {
    return `shard ${shard} does not exist; the cluster has ${shardCount} shards`;
  }
  if (!isCount(connections)) return `${connections} connections of shard ${shard} is not a count`;
  if (!(messagesPerSecond >= 0 && messagesPerSecond < Number.POSITIVE_INFINITY)) {
    return `${messagesPerSecond} messages per second of shard ${shard} is not a rate`;
  }
  return undefined;
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
