/**
 * A reconnect storm: 30,000 connected devices lose their connections and reconnect at once,
 * together with some new devices, while 5,000 durable pushes per second flow to other devices. All
 * on this machine; the reconnecting devices run at a lower priority, because in production they use
 * other machines.
 *
 *   lost, twice         of the one push that was sent to each device while it was disconnected
 *   seconds             until all devices were connected again
 *   perSecond           devices connected per second over that time
 *   resumedP50Ms, newP50Ms     from the start of the storm to the answer: resuming devices go first
 *   rejections          connect requests that were rejected or dropped
 *   pushP99MsIdle, …Storm, ratio     of the other devices, from the call of Push to the bytes at
 *                                    the device
 *
 * `--devices`, `--pushes` (per second) and `--edges` make it smaller; `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import { controlApi } from '../cli/control/api.js';
import type { LocalCluster } from '../cli/local/cluster.js';
import { PushServiceClient } from '../proto/gen/longline/v1/push.js';
import type { StormCounts, StormDevice, StormResult, ToStorm } from './storm/devices-process.js';
import { withCluster } from './support/cluster/bench-cluster.js';
import { devicePort, readOwners } from './support/cluster/edge-ports.js';
import {
  type ReceivedPushes,
  type Receivers,
  startReceivers,
} from './support/devices/receivers.js';
import { WorkerProcesses } from './support/devices/worker-processes.js';
import { number, parseOptions } from './support/options.js';
import { PushLoad } from './support/pushes/push-load.js';
import { pushToEach } from './support/pushes/push-to-each.js';
import { progress, report } from './support/report.js';
import { median, percentile, rounded, sum } from './support/statistics.js';

const PROCESSES = 2;
const OTHERS = 1_000;
/** New devices per reconnecting device. */
const NEW_SHARE = 0.1;
const IDLE_MS = 10_000;
/** Time in which stored pushes are delivered: each inbox is read in its turn. */
const DELIVERY_MS = 5_000;
/** The load is back to normal when the p99 of a second is at most this multiple of the idle p99. */
const NORMAL_RATIO = 1.5;
const NORMAL_DEADLINE_S = 60;
const CLIENTS_PER_CALL = 10_000;
const TTL_MS = 10 * 60 * 1_000;

const { json, devices, pushes, edges } = parseOptions({
  devices: number(30_000),
  pushes: number(5_000),
  edges: number(3),
});
report(json, await withCluster({ edges }, measure));

async function measure(cluster: LocalCluster) {
  const addressOf = await fixedAddresses(cluster);
  const service = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  const module = new URL('storm/devices-process.js', import.meta.url);
  const storm = new WorkerProcesses<ToStorm>({ count: PROCESSES, module, ownSession: true });
  const clientIds = Array.from({ length: devices }, (_, i) => `storm-${i}`);
  try {
    progress(`${devices} devices connect`);
    const all = clientIds.map(addressOf);
    await storm.callAll((i) => ({ type: 'connect', network: i + 1, devices: partOf(all, i) }));
    await storePushes(service, clientIds);
    await storm.callAll(() => ({ type: 'arrived', events: 1 }));

    const otherIds = Array.from({ length: OTHERS }, (_, i) => `other-${i}`);
    const urls = otherIds.map(
      (clientId) => `http://127.0.0.1:${addressOf(clientId).port}/connect?clientId=${clientId}`,
    );
    const others = await startReceivers(urls);
    const load = new PushLoad(service, otherIds, undefined).pace(pushes);
    await sleep(IDLE_MS / 2);
    await others.take();
    await sleep(IDLE_MS);
    const idle = await others.take();

    progress('all of them lose their connections');
    await storm.callAll(() => ({ type: 'lose' }));
    await storePushes(service, clientIds);
    await untilNormal(others, idle);
    progress('and reconnect');
    const newDevices = clientIds.slice(0, devices * NEW_SHARE).map((id) => addressOf(`new-${id}`));
    const results = await storm.callAll<StormResult>((i) => ({
      type: 'reconnect',
      newDevices: partOf(newDevices, i),
    }));
    const during = await others.take();
    await load.stop();
    await sleep(DELIVERY_MS);
    const counts = await storm.callAll<StormCounts>(() => ({ type: 'count' }));
    await others.stop();
    return summarize(results, counts, idle, during);
  } finally {
    service.close();
    storm.stop();
  }
}

/** Every n-th item belongs to one of the processes. */
function partOf<Item>(items: readonly Item[], process: number): readonly Item[] {
  return items.filter((_, i) => i % PROCESSES === process);
}

/** Address of each client. Moves are paused, so it stays valid while the bench runs. */
async function fixedAddresses(cluster: LocalCluster): Promise<(clientId: string) => StormDevice> {
  await controlApi(cluster.controlUrl).perform('pause', {});
  const ownerOf = await readOwners(cluster);
  return (clientId) => ({ clientId, port: devicePort(cluster, ownerOf(clientId)) });
}

async function storePushes(service: PushServiceClient, clientIds: string[]): Promise<void> {
  const options = { clientsPerCall: CLIENTS_PER_CALL, ttlMs: TTL_MS };
  const { failed } = await pushToEach(service, clientIds, options);
  if (failed > 0) throw new Error(`${failed} pushes failed`);
}

/** A push to every device is a load of its own: waits until its effect on latencies is over. */
async function untilNormal(others: Receivers, idle: ReceivedPushes): Promise<void> {
  await others.take();
  for (let waited = 0; waited < NORMAL_DEADLINE_S; waited++) {
    await sleep(1_000);
    if ((await others.take()).p99Ms < NORMAL_RATIO * idle.p99Ms) return;
  }
}

function summarize(
  results: readonly StormResult[],
  counts: readonly StormCounts[],
  idle: ReceivedPushes,
  during: ReceivedPushes,
) {
  const resumedMs = results.flatMap((result) => result.resumedMs);
  const newMs = results.flatMap((result) => result.newMs);
  const seconds = percentile([...resumedMs, ...newMs], 100) / 1_000;
  return {
    devices: resumedMs.length,
    lost: sum(counts.map(({ without }) => without)),
    twice: sum(counts.map(({ twice }) => twice)),
    seconds: rounded(seconds, 1),
    perSecond: Math.round((resumedMs.length + newMs.length) / seconds),
    resumedP50Ms: Math.round(median(resumedMs)),
    resumedLastMs: Math.round(percentile(resumedMs, 100)),
    newP50Ms: Math.round(median(newMs)),
    rejections: sum(results.map(({ rejections }) => rejections)),
    pushesPerSecondIdle: idle.perSecond,
    pushesPerSecondStorm: during.perSecond,
    pushP99MsIdle: rounded(idle.p99Ms, 1),
    pushP99MsStorm: rounded(during.p99Ms, 1),
    ratio: rounded(during.p99Ms / idle.p99Ms, 2),
  };
}
