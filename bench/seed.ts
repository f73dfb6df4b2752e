/**
 * The question that this project started with: 250,000 devices on a machine with 2 GiB. The whole
 * server side, Redis, control, a router and the edges, runs in a memory cgroup with that limit, in
 * which the kernel's memory counts, too. The devices run outside of it, on the same two cores. One
 * half asks the router for its edge, the other half connects to any edge and is redirected; all
 * reconnect as real devices do, and control may move shards meanwhile. Then each client gets two
 * durable pushes.
 *
 *   usedMiBMax           the most that was used of the limit
 *   memory               what it consisted of then, in MiB, by role: `user` memory of the
 *                        processes, `files` (programs and libraries), `kernel` objects,
 *                        `socketBuffers`
 *   socketObjectsMiB     the part of `kernel` that the objects of the devices' sockets are
 *   programMiB           pages of the program and its libraries, which the processes share. They
 *                        count only where they were read first, and so not in `files` if that was
 *                        elsewhere
 *   connectSeconds, pushSeconds    until all devices were connected; had each of the pushes
 *   lost, doubled        pushes that a device did not receive, or received again
 *   goaways, ended       connections that an edge moved; that ended otherwise
 *
 * Needs root. The full size takes minutes and, with the devices, some 6 GB; `--devices`, `--limit`
 * (in MiB) and `--edges` make it smaller. `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import type { LocalCluster } from '../cli/local/cluster.js';
import { memoryObstacle } from '../drill/memory/cgroups.js';
import { PushServiceClient } from '../proto/gen/longline/v1/push.js';
import { DeviceProcesses } from './seed/device-processes.js';
import { LimitedMemory } from './seed/limited-memory.js';
import { Peak } from './seed/peak.js';
import { withCluster } from './support/cluster/bench-cluster.js';
import { MIB, mib, residentFileBytes, socketObjectBytes } from './support/memory/process-memory.js';
import { number, parseOptions } from './support/options.js';
import { pushToEach } from './support/pushes/push-to-each.js';
import { progress, report } from './support/report.js';
import { rounded } from './support/statistics.js';

const GROUPS = ['redis', 'control', 'router', 'edges'];

/** As docs/memory.md recommends for small pushes: by default each stream has a node of 4 KiB. */
const REDIS_ARGS = ['--stream-node-max-bytes', '128'];
/** As it recommends where memory is short; pushes cost more processor time then. */
const SMALL_HEAP = ['--max-semi-space-size=1', '--optimize-for-size', '--v8-pool-size=1'];
const NODE_OPTIONS: Readonly<Record<string, readonly string[]>> = {
  control: SMALL_HEAP,
  router: ['--max-semi-space-size=4', '--heap-growing-percent=10'],
  edges: SMALL_HEAP,
};
const ENV = { MALLOC_ARENA_MAX: '1' };
const PUSHES = 2;
const CLIENTS_PER_CALL = 2_000;
const WAIT_MS = 30_000;
const TTL_MS = 30 * 60 * 1_000;
/** The cluster finishes what the last connections have started. */
const QUIET_MS = 5_000;

const { json, devices, limit, edges } = parseOptions({
  devices: number(250_000),
  limit: number(2_048),
  edges: number(14),
});
const obstacle = await memoryObstacle();
if (obstacle !== undefined) report(json, { skipped: obstacle }, () => console.log(obstacle));
else report(json, await run());

async function run() {
  const memory = await LimitedMemory.open(limit * MIB, GROUPS);
  progress(`starting Redis, control, a router and ${edges} edges in ${limit} MiB`);
  try {
    const options = {
      edges,
      redisCommand: memory.commandOf('redis'),
      redisArgs: REDIS_ARGS,
      env: ENV,
      launchOf: (name: string) => ({
        command: memory.commandOf(groupOf(name)),
        nodeOptions: NODE_OPTIONS[groupOf(name)]!,
      }),
    };
    return await withCluster(options, (cluster) => measure(cluster, memory));
  } finally {
    await memory.close();
  }
}

function groupOf(name: string): string {
  return name.startsWith('edge') ? 'edges' : name.startsWith('router') ? 'router' : 'control';
}

async function measure(cluster: LocalCluster, memory: LimitedMemory) {
  const clientIds = Array.from({ length: devices }, (_, i) => `seed-${i}`);
  const fleet = new DeviceProcesses(clientIds);
  const service = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  const peak = new Peak(memory);
  try {
    progress(`${devices} devices connect`);
    const connectSeconds = await secondsOf(async () => {
      await fleet.connect(entryUrls(cluster));
      await fleet.until('connect', 0, ({ connected }) => devices - connected);
    });
    await sleep(QUIET_MS);
    const { connected } = await fleet.counts(0);
    const connectedMiB = mib(memory.usedBytes);
    const pushed = await pushToAll(service, fleet, clientIds);
    const { missing, doubled, goaways, ended, redirects, failures } = await fleet.counts(PUSHES);
    const sizes = { devices, edges, limitMiB: limit };
    const lost = { lost: missing, doubled };
    const devicesDid = { goaways, ended, redirects, failures };
    const used = { connectedMiB, ...describeMemory(cluster, memory, peak) };
    return { ...sizes, connected, connectSeconds, ...pushed, ...lost, ...devicesDid, ...used };
  } finally {
    peak.stop();
    service.close();
    fleet.stop();
  }
}

async function pushToAll(service: PushServiceClient, fleet: DeviceProcesses, clientIds: string[]) {
  const options = { clientsPerCall: CLIENTS_PER_CALL, waitMs: WAIT_MS, ttlMs: TTL_MS };
  const pushSeconds: number[] = [];
  let failed = 0;
  for (let round = 1; round <= PUSHES; round++) {
    progress(`push ${round} to each`);
    const seconds = await secondsOf(async () => {
      failed += (await pushToEach(service, clientIds, options)).failed;
      await fleet.until(`push ${round}`, round, ({ missing }) => missing);
    });
    pushSeconds.push(seconds);
  }
  return { pushSeconds, failed };
}

function describeMemory(cluster: LocalCluster, memory: LimitedMemory, peak: Peak) {
  const pids = cluster.names.flatMap((name) => cluster.pid(name) ?? []);
  return {
    kills: memory.kills,
    usedMiBMax: mib(memory.usedBytesMax ?? peak.usedBytes),
    memory: peak.report(),
    socketObjectsMiB: mib(devices * socketObjectBytes()),
    programMiB: mib(Math.max(...pids.map(residentFileBytes))),
  };
}

/** Every second device connects to the router, the others to any edge. */
function entryUrls(cluster: LocalCluster): string[] {
  return cluster.namesOf('edge').flatMap((name) => [cluster.routerUrl, cluster.edgeUrl(name)]);
}

async function secondsOf(work: () => Promise<void>): Promise<number> {
  const from = performance.now();
  await work();
  return rounded((performance.now() - from) / 1_000, 1);
}
