/**
 * Cost of the second hop through the front proxy of a router, with SSE:
 *
 *   userBytesPerDevice        resident memory of the router that no file backs, per idle device,
 *                             garbage collected: the slope over steps, as in `bench:memory`
 *   accountedBytesPerDevice   the part of it that the router accounts for: the JavaScript heap with
 *                             its array buffers, and the slots of the transport; less noise
 *   direct, fronted           from the call of Push to the arrival at devices that are connected to
 *                             the edge, and at devices that are connected to the front, of one
 *                             paced stream of live-only pushes that alternates between both kinds
 *   addedP50Ms, addedP99Ms    the difference
 *
 * Medians of rounds, each with a fresh cluster. All idle devices stay connected during the latency
 * measurement. `--devices 8000` is the maximum of a router with 20,000 files; `--json` prints
 * one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import { table } from '../cli/commands/table.js';
import type { LocalCluster } from '../cli/local/cluster.js';
import { PushServiceClient } from '../proto/gen/longline/v1/push.js';
import { withCluster } from './support/cluster/bench-cluster.js';
import { readMetrics } from './support/cluster/metrics.js';
import { Fleet } from './support/devices/fleet.js';
import { type ReceivedPushes, startReceivers } from './support/devices/receivers.js';
import { COLLECT_ON_SIGNAL, collectedHeapBytes } from './support/memory/collected-heap.js';
import { bytesPerConnection, STEPS, WARM_UP_ROUNDS } from './support/memory/idle-connections.js';
import { anonymousBytes } from './support/memory/process-memory.js';
import { number, parseOptions } from './support/options.js';
import { PushLoad } from './support/pushes/push-load.js';
import { report } from './support/report.js';
import { medianOf } from './support/statistics.js';

/** Devices of each kind that receive pushes. */
const RECEIVERS = 200;
const PUSHES_PER_SECOND = 1_000;
/** Time in which connections and compilers warm up. */
const WARM_UP_MS = 2_000;
/** Collections until the young generation has returned what it had grown by. */
const COLLECTIONS = 3;

interface Latency {
  readonly direct: ReceivedPushes;
  readonly fronted: ReceivedPushes;
}

const { json, devices, seconds, rounds } = parseOptions({
  devices: number(8_000, STEPS, 8_000),
  seconds: number(10, 1, 600),
  rounds: number(3),
});
const runs: (Latency & { readonly user: number; readonly accounted: number })[] = [];
const settings = { NODE_OPTIONS: COLLECT_ON_SIGNAL };
for (let round = 0; round < rounds; round++) {
  runs.push(await withCluster({ edges: 1, env: settings }, measure));
}
const latency = (kind: keyof Latency) => ({
  perSecond: medianOf(runs, (run) => run[kind].perSecond, 3),
  p50Ms: medianOf(runs, (run) => run[kind].p50Ms, 3),
  p99Ms: medianOf(runs, (run) => run[kind].p99Ms, 3),
});
const result = {
  userBytesPerDevice: medianOf(runs, ({ user }) => user, 3),
  accountedBytesPerDevice: medianOf(runs, ({ accounted }) => accounted, 3),
  direct: latency('direct'),
  fronted: latency('fronted'),
  addedP50Ms: medianOf(runs, ({ direct, fronted }) => fronted.p50Ms - direct.p50Ms, 3),
  addedP99Ms: medianOf(runs, ({ direct, fronted }) => fronted.p99Ms - direct.p99Ms, 3),
  devices,
  rounds,
};
report(json, result, printTable);

async function measure(cluster: LocalCluster) {
  const fleet = new Fleet(1);
  try {
    const memory = await connectIdle(cluster, fleet);
    return { ...memory, ...(await measureLatency(cluster)) };
  } finally {
    fleet.stop();
  }
}

/** Returns bytes per device of the router. All devices stay connected. */
function connectIdle(cluster: LocalCluster, fleet: Fleet) {
  const pid = cluster.pid('router')!;
  const httpUrl = cluster.httpUrl('router');
  return bytesPerConnection({
    fleet,
    port: Number(new URL(cluster.frontUrl()).port),
    connections: devices,
    protocol: 'sse',
    warmUpRounds: WARM_UP_ROUNDS,
    pathOf: async (i) => `/connect?clientId=idle-${i}`,
    async beforeSteps() {
      for (let i = 0; i < COLLECTIONS; i++) await collectedHeapBytes(pid, httpUrl);
    },
    async read() {
      const heap = await collectedHeapBytes(pid, httpUrl);
      const metric = await readMetrics(httpUrl);
      const slots = metric('longline_router_front_memory_bytes{part="slots"}');
      return { accounted: heap + slots, user: anonymousBytes(pid) };
    },
  });
}

async function measureLatency(cluster: LocalCluster): Promise<Latency> {
  const idsOf = (kind: string) => Array.from({ length: RECEIVERS }, (_, i) => `${kind}-${i}`);
  const [directIds, frontedIds] = [idsOf('direct'), idsOf('fronted')];
  const urlsAt = (origin: string, ids: string[]) =>
    ids.map((id) => `${origin}/connect?clientId=${id}`);
  const direct = await startReceivers(urlsAt(cluster.edgeUrl('edge-1'), directIds));
  const fronted = await startReceivers(urlsAt(cluster.frontUrl(), frontedIds));
  const service = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  const alternating = directIds.flatMap((id, i) => [id, frontedIds[i]!]);
  const load = new PushLoad(service, alternating, 0).pace(PUSHES_PER_SECOND);
  try {
    await sleep(WARM_UP_MS);
    await Promise.all([direct.take(), fronted.take()]);
    await sleep(seconds * 1_000);
    const received = { direct: await direct.take(), fronted: await fronted.take() };
    await load.stop();
    return received;
  } finally {
    await Promise.all([direct.stop(), fronted.stop()]);
    service.close();
  }
}

function printTable(): void {
  const { userBytesPerDevice, accountedBytesPerDevice, addedP50Ms, addedP99Ms } = result;
  console.log(
    `the router per idle device: ${userBytesPerDevice} bytes of user memory, ` +
      `${accountedBytesPerDevice} accounted for; slope over ${STEPS} steps to ${devices}`,
  );
  const rows = Object.entries({ direct: result.direct, 'through the front': result.fronted });
  console.log(`latency of a push, median of ${rounds} rounds`);
  console.log(
    table(
      ['', 'per second', 'p50 ms', 'p99 ms'],
      rows.map(([name, row]) => [name, row.perSecond, row.p50Ms, row.p99Ms]),
    ),
  );
  console.log(`added: p50 ${addedP50Ms} ms, p99 ${addedP99Ms} ms`);
}
