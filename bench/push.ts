/**
 * Pushes through a whole cluster (Redis, control, routers, edges, each a process) to SSE or
 * WebSocket devices, all on this machine: what a push costs each process, how many arrive per
 * second, and the latency from the call to the bytes at the device.
 *
 *   unaryLive, unaryDurable     calls of Push, 128 at a time
 *   streamLive, streamDurable   a PushStream per router, 4,096 pushes in flight
 *   paced…                      the same at a fixed rate (`--pace`), independent of the verdicts
 *   pushManyLive, …Durable      one payload to `--fan-out` clients, by calls of PushMany
 *   broadcast                   the same by one call of Broadcast
 *   ceiling                     pushes per second that Redis alone takes, without a cluster
 *
 *   cpuUs        microseconds of processor time per push: user, system, total. `server` is
 *                everything except the backend and the devices
 *   limit        the process that had no time left, or all cores
 *   otherCores   cores that processes outside the bench used: above 0.1, the figures are in doubt
 *   ms           from the call to the last device
 *
 * At saturation the latency is the window divided by the rate; only the paced loads measure the
 * latency of a push. `--loads` chooses some of the loads, `--http` has those of single pushes over
 * HTTP, too, in turn with gRPC; `--backend node` does without Go; `--json` prints one line.
 */
import { table } from '../cli/commands/table.js';
import type { LocalCluster } from '../cli/local/cluster.js';
import type { LocalRedis } from '../cli/local/redis.js';
import { Ceiling } from './push/ceiling.js';
import { pidsOf, withCluster } from './support/cluster/bench-cluster.js';
import { devicePort, holdOwners } from './support/cluster/edge-ports.js';
import { type Receivers, startReceivers } from './support/devices/receivers.js';
import { flag, number, oneOf, parseOptions, someOf } from './support/options.js';
import type { Pids } from './support/processes/cpu.js';
import { type Backend, type Clients, clientIdsOf } from './support/pushes/backend.js';
import {
  FAN_OUT_NAMES,
  FAN_OUTS,
  type FanOutName,
  LOAD_NAMES,
  STEADY_NAMES,
  type SteadyName,
  steadyLoad,
} from './support/pushes/loads.js';
import { BACKENDS, openBackend, openHttpBackend } from './support/pushes/open-backend.js';
import {
  type FanOutRun,
  fanOutRun,
  medianFanOutRun,
  medianSteadyRun,
  type Parties,
  type SteadyRun,
  steadyRun,
} from './support/pushes/runs.js';
import { progress, report } from './support/report.js';
import { runInTurn } from './support/rounds.js';
import { median } from './support/statistics.js';

const CEILINGS = ['live', 'durable'] as const;
const WINDOW = 4_096;

const options = parseOptions({
  loads: someOf([...LOAD_NAMES, 'ceiling']),
  'warm-up': number(10, 0),
  seconds: number(3, 0.1),
  rounds: number(3),
  pace: number(5_000),
  devices: number(2_000, 1, 19_000),
  'fan-out': number(16_000, 1, 19_000),
  routers: number(1),
  edges: number(2),
  protocol: oneOf(['sse', 'ws'] as const, 'sse'),
  backend: oneOf(BACKENDS, 'auto'),
  http: flag(),
});
type SteadyRunName = SteadyName | `${SteadyName}Http`;

const { json, loads, seconds, rounds, pace, routers, edges } = options;
const warmUpSeconds = options['warm-up'];
const isChosen = (name: (typeof loads)[number]) => loads.includes(name);

const result = await withCluster(
  // Devices that connect are not what is measured.
  { routers, edges, env: { LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX: '0' } },
  measure,
);
report(json, result, printTables);

async function measure(cluster: LocalCluster, redis: LocalRedis) {
  const server = pidsOf(cluster, redis);
  const addresses = cluster.namesOf('router').map((name) => cluster.grpcAddress(name));
  const httpAddresses = cluster
    .namesOf('router')
    .map((name) => cluster.pushUrl(name).replace('http://', ''));
  const backend = await openBackend(options.backend, addresses);
  const http = options.http ? openHttpBackend(httpAddresses) : undefined;
  try {
    return {
      ...(await measureSteady(cluster, server, backend, http)),
      ...(await measureFanOuts(cluster, server, backend)),
      ...(isChosen('ceiling') && { ceiling: await measureCeiling(redis.port) }),
      settings: {
        ...{ warmUpSeconds, seconds, rounds, pace, routers, edges, protocol: options.protocol },
        ...{ devices: options.devices, fanOut: options['fan-out'], backend: backend.kind },
      },
    };
  } finally {
    await backend.close();
    await http?.close();
  }
}

async function measureSteady(
  cluster: LocalCluster,
  server: Pids,
  grpc: Backend,
  http: Backend | undefined,
) {
  const grpcNames = STEADY_NAMES.filter(isChosen);
  const chosen: readonly SteadyRunName[] = http
    ? grpcNames.flatMap((name) => [name, `${name}Http`] as const)
    : grpcNames;
  const runs = await withDevices(
    cluster,
    { clients: options.devices, prefix: 'device-' },
    chosen.length > 0,
    (receivers, clients) => {
      return runInTurn(rounds, chosen, async (name) => {
        progress(name);
        const isHttp = name.endsWith('Http');
        const parties: Parties = { backend: isHttp ? http! : grpc, receivers, clients, server };
        const load = steadyLoad(name.replace('Http', '') as SteadyName, pace);
        return steadyRun(parties, load, warmUpSeconds, seconds);
      });
    },
  );
  return mapValues<SteadyRunName, SteadyRun[], SteadyRun>(runs, medianSteadyRun);
}

async function measureFanOuts(cluster: LocalCluster, server: Pids, backend: Backend) {
  const chosen = FAN_OUT_NAMES.filter(isChosen);
  const runs = await withDevices(
    cluster,
    { clients: options['fan-out'], prefix: 'fan-' },
    chosen.length > 0,
    (receivers, clients) => {
      const parties: Parties = { backend, receivers, clients, server };
      return runInTurn(rounds, chosen, async (name) => {
        progress(name);
        return fanOutRun(parties, FAN_OUTS[name]);
      });
    },
  );
  return mapValues<FanOutName, FanOutRun[], FanOutRun>(runs, medianFanOutRun);
}

async function measureCeiling(port: number): Promise<Record<'live' | 'durable', number>> {
  const ceiling = await Ceiling.open(port);
  try {
    const rates = await runInTurn(rounds, CEILINGS, (kind) =>
      ceiling.measure(kind, seconds, WINDOW),
    );
    return { live: median(rates.live), durable: median(rates.durable) };
  } finally {
    ceiling.close();
  }
}

/** Calls `run` while the devices of these clients are connected; not at all unless `isNeeded`. */
async function withDevices<Result extends object>(
  cluster: LocalCluster,
  clients: Clients,
  isNeeded: boolean,
  run: (receivers: Receivers, clients: Clients) => Promise<Result>,
): Promise<Result | Record<string, never>> {
  if (!isNeeded) return {};
  const ownerOf = await holdOwners(cluster);
  const urls = clientIdsOf(clients).map((id) => {
    return `http://127.0.0.1:${devicePort(cluster, ownerOf(id))}/connect?clientId=${id}`;
  });
  const receivers = await startReceivers(urls, options.protocol);
  try {
    return await run(receivers, clients);
  } finally {
    await receivers.stop();
  }
}

function mapValues<Name extends string, From, To>(
  of: Partial<Record<Name, From>>,
  map: (value: From) => To,
): Partial<Record<Name, To>> {
  const entries = Object.entries(of).map(([name, value]) => [name, map(value as From)]);
  return Object.fromEntries(entries) as Partial<Record<Name, To>>;
}

function printTables(): void {
  const { settings, ceiling } = result;
  console.log(`medians of ${rounds} rounds; ${JSON.stringify(settings)}`);
  const totals = ({ cpuUs }: SteadyRun | FanOutRun) => {
    const of = (role: string) =>
      Object.entries(cpuUs)
        .filter(([name]) => name === role || name.startsWith(`${role}-`))
        .reduce((all, [, { total }]) => all + total, 0)
        .toFixed(1);
    return ['server', 'router', 'redis', 'edge', 'control', 'backend', 'devices'].map(of);
  };
  const cpu = [
    'server µs',
    'router',
    'redis',
    'edges',
    'control',
    'backend',
    'devices',
    'other cores',
  ];
  const names = STEADY_NAMES.flatMap((name): SteadyRunName[] => [name, `${name}Http`]);
  const steady = names.flatMap((name) => {
    const run = result[name];
    if (run === undefined) return [];
    return [[name, run.perSecond, run.p50Ms, run.p99Ms, ...totals(run), run.otherCores, run.limit]];
  });
  if (steady.length > 0) {
    console.log(table(['', 'per second', 'p50 ms', 'p99 ms', ...cpu, 'limit'], steady));
  }
  const fanOuts = FAN_OUT_NAMES.flatMap((name) => {
    const run = result[name];
    return run === undefined ? [] : [[name, run.ms, ...totals(run), run.otherCores]];
  });
  if (fanOuts.length > 0) console.log(table(['', 'last device ms', ...cpu], fanOuts));
  if (ceiling) console.log(`ceiling per second: live ${ceiling.live}, durable ${ceiling.durable}`);
}
