/**
 * How many times a second one core finds the edge of a clientId: the hash and a look at the table,
 * as the router does for each `/connect`. The baseline is a Map that already has the answer for
 * every clientId; it is what a cluster could do that remembered all its clients.
 */
import { randomUUID } from 'node:crypto';
import { type AssignedEdge, type Assignment, ownerOf } from '../common/cluster/assignment.js';
import { shardOf } from '../common/cluster/shard.js';

const SHARDS = 4096;
const EDGES = 16;
const CLIENTS = 200_000;
/** Odd, so that the median is one of them. */
const RUNS = 15;

const assignment = evenAssignment();
const clientIds = Array.from({ length: CLIENTS }, (_, i) => (i % 2 ? randomUUID() : `user-${i}`));
const known = new Map(clientIds.map((id) => [id, ownerOf(assignment, shardOf(id, SHARDS))!]));

const byHash = (clientId: string) => ownerOf(assignment, shardOf(clientId, SHARDS));
const byMap = (clientId: string) => known.get(clientId);

// In turn, so that whatever else the machine does meanwhile hits both.
const rates = Array.from({ length: RUNS }, () => [ratePerSecond(byHash), ratePerSecond(byMap)]);
const lookupsPerSecond = median(rates.map(([hash]) => hash!));
const baseline = median(rates.map(([, map]) => map!));

if (process.argv.includes('--json')) {
  const result = { lookupsPerSecond, baseline, clients: CLIENTS, shards: SHARDS, edges: EDGES };
  console.log(JSON.stringify({ ...result, runs: RUNS }));
} else {
  console.log(`clientId -> edge, ${CLIENTS} clientIds, median of ${RUNS} runs`);
  console.log(`  shard and table  ${lookupsPerSecond.toLocaleString('en')} /s`);
  console.log(`  Map.get          ${baseline.toLocaleString('en')} /s`);
}

function ratePerSecond(find: (clientId: string) => AssignedEdge | undefined): number {
  const start = process.hrtime.bigint();
  let found = 0;
  for (const clientId of clientIds) {
    if (find(clientId) !== undefined) found++;
  }
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  // Also keeps the compiler from removing a loop without a result.
  if (found !== CLIENTS) throw new Error(`found ${found} of ${CLIENTS}`);
  return Math.round(CLIENTS / seconds);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function evenAssignment(): Assignment {
  const edges = Array.from({ length: EDGES }, (_, i) => ({
    id: `edge-${String(i).padStart(2, '0')}`,
    incarnation: `incarnation-${i}`,
    advertisedUrl: `http://edge-${i}.example.net:7000`,
    intent: 'none' as const,
  }));
  const owners = Uint16Array.from({ length: SHARDS }, (_, shard) => shard % EDGES);
  return { position: { incarnation: 1, epoch: 1 }, edges, owners, moves: [], isBalancing: false };
}
