/**
 * Delivered pushes per second, and the latency from the call of Push to the bytes at the device:
 * through a whole cluster (Redis, control, one router, two edges, each a process) to 2,000 SSE
 * connections, all on this machine. The ceiling, measured in turn with the rest, is the throughput
 * of Redis for the same commands without a cluster.
 *
 *   unary           calls of Push, live-only, a bounded number at a time
 *   streamLive      one PushStream, live-only, a fixed window in flight
 *   streamDurable   the same with the default TTL: every push is stored
 *   paced5000       one PushStream, durable, 5,000 per second
 *
 * At saturation the latency is the window divided by the rate; only `paced5000` measures the
 * latency of a push. `--seconds 8` is for a smoke test; `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import { table } from '../cli/commands/table.js';
import type { LocalCluster } from '../cli/local/cluster.js';
import type { LocalRedis } from '../cli/local/redis.js';
import { PushServiceClient } from '../proto/gen/longline/v1/push.js';
import { Ceiling } from './push/ceiling.js';
import { withCluster } from './support/cluster/bench-cluster.js';
import { startReceivers } from './support/devices/receivers.js';
import type { ReceivedPushes } from './support/devices/receivers-process.js';
import { number, parseOptions } from './support/options.js';
import { PushLoad, type RunningLoad } from './support/pushes/push-load.js';
import { report } from './support/report.js';
import { median, rounded } from './support/statistics.js';

const DEVICES = 2_000;
/** Half of the router's limit per stream: saturates it without being stopped by flow control. */
const WINDOW = 4_096;
const UNARY_CONCURRENCY = 128;
/** Share of each run that is not measured: connections, compilers and inboxes warm up. */
const WARM_UP = 0.25;
/** Shorter runs are not meaningful: then one round is better than three. */
const RUN_SECONDS_MIN = 2;
const LOADS = ['unary', 'streamLive', 'streamDurable', 'paced5000'] as const;
type LoadName = (typeof LOADS)[number];

const { json, seconds } = parseOptions({ seconds: number(60) });
const result = await withCluster({ edges: 2 }, measure);
report(json, result, printTable);

async function measure(cluster: LocalCluster, redis: LocalRedis) {
  const clientIds = Array.from({ length: DEVICES }, (_, i) => `device-${i}`);
  const receivers = await startReceivers(await edgeUrlsOf(cluster, clientIds));
  const service = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  const live = new PushLoad(service, clientIds, 0);
  const durable = new PushLoad(service, clientIds, undefined);
  const ceiling = await Ceiling.open(redis.port);
  const loads = {
    unary: () => live.unary(UNARY_CONCURRENCY),
    streamLive: () => live.saturate(WINDOW),
    streamDurable: () => durable.saturate(WINDOW),
    paced5000: () => durable.pace(5_000),
  };
  const runs = LOADS.length + 2;
  const rounds = seconds / runs / RUN_SECONDS_MIN >= 3 ? 3 : 1;
  const runSeconds = seconds / runs / rounds;
  const ceilings: Record<'live' | 'durable', number[]> = { live: [], durable: [] };
  const received = new Map<LoadName, ReceivedPushes[]>(LOADS.map((name) => [name, []]));
  try {
    // In turn: noise from the rest of the machine affects all of them alike.
    for (let round = 0; round < rounds; round++) {
      ceilings.live.push(await ceiling.measure('live', runSeconds, WINDOW));
      ceilings.durable.push(await ceiling.measure('durable', runSeconds, WINDOW));
      for (const name of LOADS) {
        received.get(name)!.push(await receivedUnder(loads[name], runSeconds, receivers.take));
      }
    }
  } finally {
    service.close();
    ceiling.close();
    receivers.stop();
  }
  return summarize(received, ceilings);
}

function summarize(
  received: ReadonlyMap<LoadName, readonly ReceivedPushes[]>,
  ceilings: Readonly<Record<'live' | 'durable', readonly number[]>>,
) {
  const ceiling = { live: median(ceilings.live), durable: median(ceilings.durable) };
  const figures = (name: LoadName) => medians(received.get(name)!);
  const withRatio = (name: LoadName, ceilingPerSecond: number) => ({
    ...figures(name),
    ratioToCeiling: rounded(figures(name).perSecond / ceilingPerSecond, 3),
  });
  return {
    unary: figures('unary'),
    streamLive: withRatio('streamLive', ceiling.live),
    streamDurable: withRatio('streamDurable', ceiling.durable),
    paced5000: figures('paced5000'),
    ceiling,
    devices: DEVICES,
    rounds: ceilings.live.length,
  };
}

async function receivedUnder(
  start: () => RunningLoad,
  runSeconds: number,
  take: () => Promise<ReceivedPushes>,
): Promise<ReceivedPushes> {
  const load = start();
  await sleep(runSeconds * WARM_UP * 1_000);
  await take();
  await sleep(runSeconds * (1 - WARM_UP) * 1_000);
  const received = await take();
  await load.stop();
  return received;
}

/** URL at its edge of each client, as the router redirects it. */
async function edgeUrlsOf(cluster: LocalCluster, clientIds: readonly string[]): Promise<string[]> {
  const urls: string[] = [];
  for (const clientId of clientIds) {
    const url = `${cluster.routerUrl}/connect?clientId=${clientId}`;
    const answer = await fetch(url, { redirect: 'manual' });
    urls.push(answer.headers.get('location')!);
  }
  return urls;
}

function medians(runs: readonly ReceivedPushes[]) {
  const of = (name: keyof ReceivedPushes) => median(runs.map((run) => run[name]));
  return {
    perSecond: of('perSecond'),
    p50Ms: of('p50Ms'),
    p99Ms: of('p99Ms'),
    p999Ms: of('p999Ms'),
  };
}

function printTable(): void {
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
