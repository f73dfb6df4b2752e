/**
 * What the second hop through the front of a router costs, with SSE:
 *
 *   userBytesPerDevice   resident memory of the router per idle device, garbage collected: the slope
 *                        over steps, as in `bench:memory`
 *   heapBytesPerDevice   of these, the heap of JavaScript and what its arrays have outside
 *   direct, fronted      from the call of Push to the arrival at devices that are connected to the
 *                        edge, and at others that are connected to the front, of the same paced
 *                        stream of live-only pushes, to each kind in turn
 *   addedP50Ms, addedP99Ms   the difference
 *
 * All idle devices stay connected while latency is measured. `--devices 9000` is the most that a router
 * can hold with 20,000 files; `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { credentials } from '@grpc/grpc-js';
import { LocalCluster } from '../cli/local-cluster.js';
import { startRedis } from '../cli/local-redis.js';
import { table } from '../cli/table.js';
import { PushServiceClient } from '../proto/gen/longline/v1/push.js';
import { COLLECTING, collectedHeapBytes } from './collected-heap.js';
import { Fleet } from './fleet.js';
import { Pushes } from './push-load.js';
import type { Received } from './push-receivers.js';
import { startReceivers } from './receivers.js';
import { residentBytes } from './resident.js';
import { median, rounded, slope } from './statistics.js';

const READY_DEADLINE_MS = 30_000;
const STEPS = 6;
/** As in `bench:memory`: what is compiled and grown by the first devices is not theirs. */
const WARM_UP_DEVICES = 500;
const WARM_UP_ROUNDS = 20;
/** Until the kernel has freed what it frees later. */
const SETTLE_MS = 1_500;
/** Devices of each kind that are pushed to. */
const RECEIVERS = 200;
const PUSHES_PER_SECOND = 2_000;
const ROUNDS = 3;

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    devices: { type: 'string', default: '9000' },
    seconds: { type: 'string', default: '15' },
  },
});
const devices = Number(values.devices);
const seconds = Number(values.seconds);
if (!(devices >= STEPS && devices <= 9_000)) {
  throw new Error(`--devices ${values.devices}: expected ${STEPS} to 9000`);
}
if (!(seconds >= 3 && seconds <= 600)) {
  throw new Error(`--seconds ${values.seconds}: expected 3 to 600`);
}

const redis = await startRedis({ say: console.error });
const fleet = new Fleet(1);
let cluster: LocalCluster | undefined;
try {
  cluster = await LocalCluster.start({
    redisUrl: redis.url,
    edges: 1,
    ports: 'free',
    restart: false,
    env: { LONGLINE_LOG_LEVEL: 'error', NODE_OPTIONS: COLLECTING },
    onOutput: (name, line) => console.error(`${name}: ${line}`),
  });
  await cluster.waitUntilReady(READY_DEADLINE_MS);
  const memory = await measureMemory(cluster);
  const latency = await measureLatency(cluster);
  const result = { ...memory, ...latency, devices, rounds: ROUNDS };
  if (values.json) console.log(JSON.stringify(result));
  else printTable(result);
} finally {
  fleet.stop();
  await cluster?.stop();
  await redis.stop();
}

/** Leaves all devices connected. */
async function measureMemory(cluster: LocalCluster) {
  const pid = cluster.pid('router')!;
  const port = Number(new URL(cluster.frontUrl()).port);
  const user: [number, number][] = [];
  const heap: [number, number][] = [];
  let held = 0;
  const connectUntil = async (count: number) => {
    const paths: string[] = [];
    while (held < count) paths.push(`/connect?clientId=idle-${held++}`);
    await fleet.connect([{ port, paths }]);
  };
  for (let round = 0; round < WARM_UP_ROUNDS; round++) {
    held = 0;
    await connectUntil(Math.min(WARM_UP_DEVICES, devices));
    await fleet.close();
  }
  held = 0;
  for (let step = 1; step <= STEPS; step++) {
    await connectUntil(Math.round((devices * step) / STEPS));
    await sleep(SETTLE_MS);
    heap.push([held, await collectedHeapBytes(pid, cluster.httpUrl('router'))]);
    user.push([held, residentBytes(pid)]);
  }
  return {
    userBytesPerDevice: rounded(slope(user), 1),
    heapBytesPerDevice: rounded(slope(heap), 1),
  };
}

async function measureLatency(cluster: LocalCluster) {
  const idsOf = (kind: string) => Array.from({ length: RECEIVERS }, (_, i) => `${kind}-${i}`);
  const [directIds, frontedIds] = [idsOf('direct'), idsOf('fronted')];
  const urlsAt = (origin: string, ids: string[]) =>
    ids.map((id) => `${origin}/connect?clientId=${id}`);
  const direct = await startReceivers(urlsAt(cluster.edgeUrl('edge-1'), directIds));
  const fronted = await startReceivers(urlsAt(cluster.frontUrl(), frontedIds));
  const service = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  const inTurn = directIds.flatMap((id, i) => [id, frontedIds[i]!]);
  const load = new Pushes(service, inTurn, 0).pace(PUSHES_PER_SECOND);
  const received = { direct: [] as Received[], fronted: [] as Received[] };
  try {
    await sleep(2_000);
    await Promise.all([direct.take(), fronted.take()]);
    for (let round = 0; round < ROUNDS; round++) {
      await sleep((seconds * 1_000) / ROUNDS);
      received.direct.push(await direct.take());
      received.fronted.push(await fronted.take());
    }
    await load.stop();
  } finally {
    direct.stop();
    fronted.stop();
    service.close();
  }
  const of = (runs: readonly Received[]) => ({
    perSecond: median(runs.map(({ perSecond }) => perSecond)),
    p50Ms: rounded(median(runs.map(({ p50Ms }) => p50Ms)), 3),
    p99Ms: rounded(median(runs.map(({ p99Ms }) => p99Ms)), 3),
  });
  const [a, b] = [of(received.direct), of(received.fronted)];
  return {
    direct: a,
    fronted: b,
    addedP50Ms: rounded(b.p50Ms - a.p50Ms, 3),
    addedP99Ms: rounded(b.p99Ms - a.p99Ms, 3),
  };
}

type Result = Awaited<ReturnType<typeof measureMemory>> &
  Awaited<ReturnType<typeof measureLatency>>;

function printTable(result: Result): void {
  console.log(
    `the router, per idle device: ${result.userBytesPerDevice} bytes of user memory, ` +
      `${result.heapBytesPerDevice} of them JavaScript's; slope over ${STEPS} steps to ${devices}`,
  );
  const rows = Object.entries({ direct: result.direct, 'through the front': result.fronted });
  console.log(`a push, median of ${ROUNDS} rounds`);
  console.log(
    table(
      ['', 'per second', 'p50 ms', 'p99 ms'],
      rows.map(([name, row]) => [name, row.perSecond, row.p50Ms, row.p99Ms]),
    ),
  );
  console.log(`added: p50 ${result.addedP50Ms} ms, p99 ${result.addedP99Ms} ms`);
}
