/**
 * Lookups per second from clientId to edge on one core: hash and table lookup, as the router does
 * for each `/connect`. The baseline is a Map with the answer for every clientId: what a cluster
 * could do that remembers all its clients.
 */
import { randomUUID } from 'node:crypto';
import { type AssignedEdge, type Assignment, ownerOf } from '../common/cluster/assignment.js';
import { shardOf } from '../common/cluster/shard.js';
import { parseOptions } from './support/options.js';
import { report } from './support/report.js';
import { runInTurn } from './support/rounds.js';
import { median } from './support/statistics.js';

const SHARDS = 4096;
const EDGES = 16;
const CLIENTS = 200_000;
/** Odd, so that the median is one of them. */
const RUNS = 15;

const { json } = parseOptions({});
const assignment = evenAssignment();
const clientIds = Array.from({ length: CLIENTS }, (_, i) => (i % 2 ? randomUUID() : `user-${i}`));
const known = new Map(clientIds.map((id) => [id, ownerOf(assignment, shardOf(id, SHARDS))!]));

const lookups = {
  hash: (clientId: string) => ownerOf(assignment, shardOf(clientId, SHARDS)),
  map: (clientId: string) => known.get(clientId),
};
const rates = await runInTurn(RUNS, ['hash', 'map'], async (name) => ratePerSecond(lookups[name]));
const lookupsPerSecond = median(rates.hash);
const baseline = median(rates.map);
report(
  json,
  { lookupsPerSecond, baseline, clients: CLIENTS, shards: SHARDS, edges: EDGES, runs: RUNS },
  () => {
    console.log(`clientId -> edge, ${CLIENTS} clientIds, median of ${RUNS} runs`);
    console.log(`  shard and table  ${lookupsPerSecond.toLocaleString('en')} /s`);
    console.log(`  Map.get          ${baseline.toLocaleString('en')} /s`);
  },
);

function ratePerSecond(find: (clientId: string) => AssignedEdge | undefined): number {
  const start = process.hrtime.bigint();
  let found = 0;
  for (const clientId of clientIds) {
    if (find(clientId) !== undefined) found++;
  }
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  // This also keeps the compiler from removing a loop without a result.
  if (found !== CLIENTS) throw new Error(`found ${found} of ${CLIENTS}`);
  return Math.round(CLIENTS / seconds);
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
