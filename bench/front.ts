/**
 * What the second hop through the front of a router costs, with SSE:
 *
 *   userBytesPerDevice        resident memory of the router per idle device, garbage collected: the
 *                             slope over steps, as in `bench:memory`
 *   accountedBytesPerDevice   the same, of what the router knows of: the heap of JavaScript and what its
 *                             arrays have outside, and the slots of the transport; less noise
 *   direct, fronted           from the call of Push to the arrival at devices that are connected to the
 *                             edge, and at others that are connected to the front, of the same paced
 *                             stream of live-only pushes, to each kind in turn
 *   addedP50Ms, addedP99Ms    the difference
 *
 * Medians of rounds, each with a fresh cluster. All idle devices stay connected while latency is
 * measured. `--devices 9000` is the most that a router can hold with 20,000 files; `--json` prints
 * one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { credentials } from '@grpc/grpc-js';
import { table } from '../cli/commands/table.js';
import { LocalCluster } from '../cli/local/cluster.js';
import { startRedis } from '../cli/local/redis.js';
import { PushServiceClient } from '../proto/gen/longline/v1/push.js';
import { COLLECTING, collectedHeapBytes } from './memory/collected-heap.js';
import { residentBytes } from './memory/resident.js';
import { Pushes } from './push/load.js';
import { startReceivers } from './push/receivers.js';
import type { Received } from './push/receivers-process.js';
import { Fleet } from './support/fleet.js';
import { median, rounded, slope } from './support/statistics.js';

const READY_DEADLINE_MS = 30_000;
const STEPS = 6;
/** As in `bench:memory`: what is compiled and grown by the first devices is not theirs. */
const WARM_UP_DEVICES = 500;
const WARM_UP_ROUNDS = 20;
/** Until the kernel has freed what it frees later. */
const SETTLE_MS = 1_500;
/** Devices of each kind that are pushed to. */
const RECEIVERS = 200;
const PUSHES_PER_SECOND = 1_000;
/** Until connections and compilers are warm. */
const WARM_UP_MS = 2_000;

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    devices: { type: 'string', default: '9000' },
    seconds: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
  },
});
const devices = Number(values.devices);
const seconds = Number(values.seconds);
const rounds = Number(values.rounds);
if (!(devices >= STEPS && devices <= 9_000)) {
  throw new Error(`--devices ${values.devices}: expected ${STEPS} to 9000`);
}
if (!(seconds >= 1 && seconds <= 600)) {
  throw new Error(`--seconds ${values.seconds}: expected 1 to 600`);
}

const memories: Memory[] = [];
const latencies: Latency[] = [];
for (let round = 0; round < rounds; round++) await measure();
const of = <T>(runs: readonly T[], number: (run: T) => number) =>
  rounded(median(runs.map(number)), 3);
const kind = (name: keyof Latency) => ({
  perSecond: of(latencies, (run) => run[name].perSecond),
  p50Ms: of(latencies, (run) => run[name].p50Ms),
  p99Ms: of(latencies, (run) => run[name].p99Ms),
});
const result = {
  userBytesPerDevice: of(memories, ({ user }) => user),
  accountedBytesPerDevice: of(memories, ({ accounted }) => accounted),
  direct: kind('direct'),
  fronted: kind('fronted'),
  addedP50Ms: of(latencies, ({ direct, fronted }) => fronted.p50Ms - direct.p50Ms),
  addedP99Ms: of(latencies, ({ direct, fronted }) => fronted.p99Ms - direct.p99Ms),
  devices,
  rounds,
};
if (values.json) console.log(JSON.stringify(result));
else printTable();

async function measure(): Promise<void> {
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
    memories.push(await measureMemory(cluster, fleet));
    latencies.push(await measureLatency(cluster));
  } finally {
    fleet.stop();
    await cluster?.stop();
    await redis.stop();
  }
}

interface Memory {
  readonly user: number;
  readonly accounted: number;
}

/** Bytes per device of the router. Leaves all devices connected. */
async function measureMemory(cluster: LocalCluster, fleet: Fleet): Promise<Memory> {
  const pid = cluster.pid('router')!;
  const port = Number(new URL(cluster.frontUrl()).port);
  const user: [number, number][] = [];
  const accounted: [number, number][] = [];
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
  // The young generation gives back what it has grown by.
  for (let i = 0; i < 3; i++) await collectedHeapBytes(pid, cluster.httpUrl('router'));
  held = 0;
  for (let step = 1; step <= STEPS; step++) {
    await connectUntil(Math.round((devices * step) / STEPS));
    await sleep(SETTLE_MS);
    const heap = await collectedHeapBytes(pid, cluster.httpUrl('router'));
    accounted.push([held, heap + (await slotBytes(cluster.httpUrl('router')))]);
    user.push([held, residentBytes(pid)]);
  }
  return { user: slope(user), accounted: slope(accounted) };
}

async function slotBytes(httpUrl: string): Promise<number> {
  const metrics = await (await fetch(`${httpUrl}/metrics`)).text();
  return Number(/^longline_router_front_memory_bytes\{part="slots"\} (\d+)$/m.exec(metrics)?.[1]);
}

interface Latency {
  readonly direct: Received;
  readonly fronted: Received;
}

async function measureLatency(cluster: LocalCluster): Promise<Latency> {
  const idsOf = (kind: string) => Array.from({ length: RECEIVERS }, (_, i) => `${kind}-${i}`);
  const [directIds, frontedIds] = [idsOf('direct'), idsOf('fronted')];
  const urlsAt = (origin: string, ids: string[]) =>
    ids.map((id) => `${origin}/connect?clientId=${id}`);
  const direct = await startReceivers(urlsAt(cluster.edgeUrl('edge-1'), directIds));
  const fronted = await startReceivers(urlsAt(cluster.frontUrl(), frontedIds));
  const service = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  const inTurn = directIds.flatMap((id, i) => [id, frontedIds[i]!]);
  const load = new Pushes(service, inTurn, 0).pace(PUSHES_PER_SECOND);
  try {
    await sleep(WARM_UP_MS);
    await Promise.all([direct.take(), fronted.take()]);
    await sleep(seconds * 1_000);
    const received = { direct: await direct.take(), fronted: await fronted.take() };
    await load.stop();
    return received;
  } finally {
    direct.stop();
    fronted.stop();
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
  console.log(`a push, median of ${rounds} rounds`);
  console.log(
    table(
      ['', 'per second', 'p50 ms', 'p99 ms'],
      rows.map(([name, row]) => [name, row.perSecond, row.p50Ms, row.p99Ms]),
    ),
  );
  console.log(`added: p50 ${addedP50Ms} ms, p99 ${addedP99Ms} ms`);
}
