/**
 * Delivered pushes a second, and the time from the call of Push to the bytes at the device: through
 * a whole cluster (Redis, control, one router, two edges, each a process) to some thousand SSE
 * connections, all on this machine. The ceiling, measured in turn with the rest, is what Redis does
 * of the same when nothing else is done.
 *
 *   unary           calls of Push, live only, a bounded number at a time
 *   streamLive      one PushStream, live only, a fixed window in flight
 *   streamDurable   the same with the default TTL: every push is stored
 *   paced5000       one PushStream, durable, 5,000 a second
 *
 * At saturation the latency is the window over the rate; only `paced5000` says what a push takes.
 * `--seconds 8` is for a smoke test; `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { credentials } from '@grpc/grpc-js';
import { table } from '../cli/commands/table.js';
import { LocalCluster } from '../cli/local/cluster.js';
import { startRedis } from '../cli/local/redis.js';
import { PushServiceClient } from '../proto/gen/longline/v1/push.js';
import { Ceiling } from './push/ceiling.js';
import { type Load, Pushes } from './push/load.js';
import { startReceivers } from './push/receivers.js';
import type { Received } from './push/receivers-process.js';
import { median, rounded } from './support/statistics.js';

const DEVICES = 2_000;
/** Half of what the router takes of one stream: saturates without being stopped by flow control. */
const WINDOW = 4_096;
const UNARY_CONCURRENCY = 128;
const READY_DEADLINE_MS = 30_000;
/** Part of each run that is not measured: connections, compilers and inboxes warm up. */
const WARM_UP = 0.25;
/** Shorter runs say little; then rather one round than three. */
const RUN_SECONDS_MIN = 2;

const { values } = parseArgs({
  options: { json: { type: 'boolean' }, seconds: { type: 'string', default: '60' } },
});
const seconds = Number(values.seconds);
if (!(seconds >= 1)) throw new Error(`--seconds ${values.seconds}: expected a number from 1`);

const redis = await startRedis({ say: console.error });
let cluster: LocalCluster | undefined;
try {
  cluster = await LocalCluster.start({
    redisUrl: redis.url,
    edges: 2,
    ports: 'free',
    restart: false,
    env: { LONGLINE_LOG_LEVEL: 'error' },
    onOutput: (name, line) => console.error(`${name}: ${line}`),
  });
  await cluster.waitUntilReady(READY_DEADLINE_MS);
  const result = await measure(cluster, redis.port);
  if (values.json) console.log(JSON.stringify(result));
  else printTable(result);
} finally {
  await cluster?.stop();
  await redis.stop();
}

async function measure(cluster: LocalCluster, redisPort: number) {
  const clientIds = Array.from({ length: DEVICES }, (_, i) => `device-${i}`);
  const receivers = await startReceivers(await urlsOf(cluster, clientIds));
  const service = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  const live = new Pushes(service, clientIds, 0);
  const durable = new Pushes(service, clientIds, undefined);
  const ceiling = await Ceiling.open(redisPort);
  const loads = {
    unary: () => live.unary(UNARY_CONCURRENCY),
    streamLive: () => live.saturate(WINDOW),
    streamDurable: () => durable.saturate(WINDOW),
    paced5000: () => durable.pace(5_000),
  };
  const names = Object.keys(loads) as (keyof typeof loads)[];
  const runs = names.length + 2;
  const rounds = seconds / runs / RUN_SECONDS_MIN >= 3 ? 3 : 1;
  const runSeconds = seconds / runs / rounds;

  const received = new Map<string, Received[]>(names.map((name) => [name, []]));
  const ceilings = { live: [] as number[], durable: [] as number[] };
  try {
    for (let round = 0; round < rounds; round++) {
      // In turn, so that whatever else the machine does meanwhile hits all.
      ceilings.live.push(await ceiling.measure('live', runSeconds, WINDOW));
      ceilings.durable.push(await ceiling.measure('durable', runSeconds, WINDOW));
      for (const name of names) {
        received.get(name)!.push(await receivedUnder(loads[name], runSeconds, receivers.take));
      }
    }
  } finally {
    service.close();
    ceiling.close();
    receivers.stop();
  }

  const ceilingOf = { live: median(ceilings.live), durable: median(ceilings.durable) };
  const of = (name: keyof typeof loads) => medians(received.get(name)!);
  const besideCeiling = (all: ReturnType<typeof medians>, most: number) => ({
    ...all,
    ratioToCeiling: rounded(all.perSecond / most, 3),
  });
  return {
    unary: of('unary'),
    streamLive: besideCeiling(of('streamLive'), ceilingOf.live),
    streamDurable: besideCeiling(of('streamDurable'), ceilingOf.durable),
    paced5000: of('paced5000'),
    ceiling: ceilingOf,
    devices: DEVICES,
    rounds,
  };
}

async function receivedUnder(
  start: () => Load,
  runSeconds: number,
  take: () => Promise<Received>,
): Promise<Received> {
  const load = start();
  await sleep(runSeconds * WARM_UP * 1_000);
  await take();
  await sleep(runSeconds * (1 - WARM_UP) * 1_000);
  const received = await take();
  await load.stop();
  return received;
}

async function urlsOf(cluster: LocalCluster, clientIds: readonly string[]): Promise<string[]> {
  const urls: string[] = [];
  for (const clientId of clientIds) {
    const url = `${cluster.routerUrl}/connect?clientId=${clientId}`;
    const answer = await fetch(url, { redirect: 'manual' });
    urls.push(answer.headers.get('location')!);
  }
  return urls;
}

function medians(runs: readonly Received[]) {
  const of = (name: keyof Received) => median(runs.map((run) => run[name]));
  return {
    perSecond: of('perSecond'),
    p50Ms: of('p50Ms'),
    p99Ms: of('p99Ms'),
    p999Ms: of('p999Ms'),
  };
}

function printTable(result: Awaited<ReturnType<typeof measure>>): void {
  const { ceiling, devices, rounds, ...rows } = result;
  const lines = Object.entries(rows).map(([name, row]) => {
    const ratio = 'ratioToCeiling' in row ? row.ratioToCeiling : '';
    return [name, row.perSecond, row.p50Ms, row.p99Ms, row.p999Ms, ratio];
  });
  lines.push(['ceiling, live', ceiling.live, '', '', '', '']);
  lines.push(['ceiling, durable', ceiling.durable, '', '', '', '']);
  console.log(`pushes to ${devices} SSE connections, median of ${rounds} rounds`);
  console.log(table(['', 'per second', 'p50 ms', 'p99 ms', 'p99.9 ms', 'of ceiling'], lines));
}
