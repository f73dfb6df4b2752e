/**
 * Failover: one edge of three fails while it holds a third of 5,000 devices and 1,000 durable
 * pushes per second flow to all of them. All on this machine; the devices run at a lower priority,
 * because in production they use other machines.
 *
 *   kill      SIGKILL: its connections end, its port is closed
 *   stop      SIGSTOP: its connections stay open and silent
 *   cut       the network cable is cut: a network namespace whose veth goes down (needs root)
 *
 * each through the router's redirect, its JSON answer (lookup) and its front proxy:
 *
 *   p50Ms, p99Ms, maxMs     time without a connection, of the devices of that edge, from the fault
 *                           to the answer of their next edge
 *   ownedMs                 until the edge owned no shard any more
 *   phases                  p50 and p99 of the times since the fault when devices had noticed it,
 *                           were told their next edge by the router, and had reached that edge or
 *                           the front
 *   failures                connects that failed, were rejected or not answered
 *   othersLost              devices of other edges that lost their connection
 *   accepted, lost, twice   durable pushes
 *
 * `--fault` and `--way` select one; `--devices` and `--pushes` make it smaller; `--json` prints one
 * line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import type { LocalCluster } from '../cli/local/cluster.js';
import { PushServiceClient } from '../proto/gen/longline/v1/push.js';
import { Cable } from './failover/cable.js';
import type { FailoverResult, Phases, ToFailover, Way } from './failover/devices-process.js';
import { NumberedPushes } from './failover/numbered-pushes.js';
import { nowUs } from './support/clock.js';
import { withCluster } from './support/cluster/bench-cluster.js';
import { readOwners } from './support/cluster/edge-ports.js';
import { WorkerProcesses } from './support/devices/worker-processes.js';
import { number, oneOf, parseOptions } from './support/options.js';
import { progress, report } from './support/report.js';
import { percentile, sum } from './support/statistics.js';

const FAULTS = ['kill', 'stop', 'cut'] as const;
const WAYS = ['redirect', 'lookup', 'front'] as const;
type Fault = (typeof FAULTS)[number];

const EDGES = 3;
const PROCESSES = 2;
const FAILED = 'edge-1';
/** Shorter than the default, so that devices notice a silent edge before its lease ends. */
const HEARTBEAT_MS = 2_000;
const BEFORE_MS = 3_000;
const POLL_MS = 50;
const RETURN_MS_MAX = 60_000;
const DELIVERY_MS = 5_000;

const { json, devices, pushes, fault, way } = parseOptions({
  devices: number(5_000),
  pushes: number(1_000),
  fault: oneOf([...FAULTS, 'all'], 'all'),
  way: oneOf([...WAYS, 'all'], 'all'),
});

const results: Record<string, object> = {};
for (const eachFault of FAULTS.filter((one) => fault === 'all' || fault === one)) {
  for (const eachWay of WAYS.filter((one) => way === 'all' || way === one)) {
    const obstacle = eachFault === 'cut' ? Cable.obstacle() : undefined;
    if (obstacle !== undefined) progress(`${eachFault} is skipped: ${obstacle}`);
    const result = obstacle ?? (await run(eachFault, eachWay));
    results[eachFault] = { ...results[eachFault], [eachWay]: result };
  }
}
report(json, { devices, pushesPerSecond: pushes, cutBy: 'network namespace', ...results });

async function run(eachFault: Fault, eachWay: Way) {
  const cable = eachFault === 'cut' ? new Cable() : undefined;
  const env = { LONGLINE_EDGE_HEARTBEAT_MS: `${HEARTBEAT_MS}` };
  try {
    const options = {
      edges: EDGES,
      env: cable === undefined ? env : { ...env, LONGLINE_HOST: cable.host },
      ...(cable && {
        redisHost: cable.host,
        launchOf: (name: string) => (name === FAILED ? behind(cable) : {}),
      }),
    };
    return await withCluster(options, (cluster) => measure(cluster, eachFault, eachWay, cable));
  } finally {
    cable?.remove();
  }
}

/** An edge at the far end of the cable, to which the front proxy comes from this side. */
function behind({ command, host, farHost }: Cable) {
  return { command, env: { LONGLINE_HOST: farHost, LONGLINE_PROXY_NETWORKS: host } };
}

async function measure(
  cluster: LocalCluster,
  eachFault: Fault,
  eachWay: Way,
  cable: Cable | undefined,
) {
  const service = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  const module = new URL('failover/devices-process.js', import.meta.url);
  const workers = new WorkerProcesses<ToFailover>({ count: PROCESSES, module, ownSession: true });
  const clientIds = Array.from({ length: devices }, (_, i) => `device-${i}`);
  const ownerOf = await readOwners(cluster);
  const affected = clientIds.filter((clientId) => ownerOf(clientId) === FAILED);
  try {
    progress(`${eachFault}, ${eachWay}: ${devices} devices connect`);
    const url = eachWay === 'front' ? cluster.frontUrl() : cluster.routerUrl;
    await workers.callAll((i) => ({
      type: 'connect',
      way: eachWay,
      url,
      clientIds: clientIds.filter((_, j) => j % PROCESSES === i),
      heartbeatMs: HEARTBEAT_MS,
    }));
    const load = new NumberedPushes(service, clientIds, pushes);
    await sleep(BEFORE_MS);
    progress(`${FAILED} with ${affected.length} devices fails`);
    await workers.callAll(() => ({ type: 'fault', clientIds: affected }));
    const atUs = nowUs();
    inject(cluster, eachFault, cable);
    const owned = untilOwnerless(cluster).then(() => Math.round((nowUs() - atUs) / 1e3));
    await untilReturned(workers);
    const ownedMs = await owned;
    await load.stop();
    await sleep(DELIVERY_MS);
    const all = await workers.callAll<FailoverResult>(() => ({ type: 'result' }));
    return { ownedMs, ...summarize(all, load) };
  } finally {
    if (eachFault === 'stop') process.kill(cluster.pid(FAILED)!, 'SIGKILL');
    service.close();
    workers.stop();
  }
}

function inject(cluster: LocalCluster, eachFault: Fault, cable: Cable | undefined): void {
  if (eachFault === 'cut') cable!.cut();
  else process.kill(cluster.pid(FAILED)!, eachFault === 'kill' ? 'SIGKILL' : 'SIGSTOP');
}

async function untilOwnerless(cluster: LocalCluster): Promise<void> {
  for (;;) {
    const answer = await fetch(`${cluster.controlUrl}/v1/shards`);
    const { shards } = (await answer.json()) as { shards: { owner: string }[] };
    if (!shards.some(({ owner }) => owner === FAILED)) return;
    await sleep(POLL_MS);
  }
}

async function untilReturned(workers: WorkerProcesses<ToFailover>): Promise<void> {
  for (const startMs = performance.now(); performance.now() < startMs + RETURN_MS_MAX; ) {
    const missing = await workers.callAll<number>(() => ({ type: 'missing' }));
    if (sum(missing) === 0) return;
    await sleep(POLL_MS);
  }
}

function summarize(all: readonly FailoverResult[], { sent, accepted }: NumberedPushes) {
  const withoutMs = all.flatMap((one) => one.withoutMs);
  const received: Record<string, readonly number[]> = Object.assign(
    {},
    ...all.map((one) => one.received),
  );
  const sets = new Map(Object.entries(received).map(([id, numbers]) => [id, new Set(numbers)]));
  const phases = all.flatMap((one) => one.phases);
  const ofPhase = (phase: keyof Phases) => {
    const times = phases.map((each) => each[phase]);
    return [50, 99].map((share) => Math.round(percentile(times, share)));
  };
  return {
    phases: {
      noticedMs: ofPhase('noticedMs'),
      locatedMs: ofPhase('locatedMs'),
      reachedMs: ofPhase('reachedMs'),
    },
    p50Ms: Math.round(percentile(withoutMs, 50)),
    p99Ms: Math.round(percentile(withoutMs, 99)),
    maxMs: Math.round(percentile(withoutMs, 100)),
    returned: withoutMs.length,
    notReturned: sum(all.map((one) => one.notReturned)),
    failures: sum(all.map((one) => one.failures)),
    othersLost: sum(all.map((one) => one.othersLost)),
    accepted: accepted.length,
    lost: accepted.filter((one) => !sets.get(sent[one]!)!.has(one)).length,
    twice: sum(Object.entries(received).map(([id, { length }]) => length - sets.get(id)!.size)),
  };
}
