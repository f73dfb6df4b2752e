/**
 * Longline beside Centrifugo and NATS on this machine, with the same devices (in C) and the same
 * backend (in Go): pushes one by one and in streams, at a fixed rate, one payload to many,
 * connects. Each round starts fresh processes of each server, in turn. Needs Go and its module
 * proxy; without them it says what is missing and exits with status 0.
 *
 *   versions and settings of each server; then, by load, the figures of bench:push and of
 *   bench:connect (`connects`, with an HS256 token each) for each server and for `longlineStored`,
 *   whose durable pushes are answered when Redis has them, as those of Centrifugo are; and
 *   ratio   the rate of Longline over that of the server (of `ms`: the server's over Longline's),
 *           so above 1 Longline is faster
 *   cpuRatio   processor time of all processes of the server over Longline's
 *
 * `--peers`, `--loads`, `--rounds`, `--warm-up` and `--seconds` (of one load) make it shorter;
 * `--json` prints one line.
 */
import { table } from '../cli/commands/table.js';
import { centrifugo } from './peers/centrifugo.js';
import { longline, longlinePaced, longlineStored } from './peers/longline.js';
import { nats } from './peers/nats.js';
import type { Peer, PeerServer, Purpose } from './peers/peer.js';
import { type ConnectRun, connectRun, medianConnectRun } from './support/devices/connect-run.js';
import { Receivers } from './support/devices/receivers.js';
import { number, parseOptions, someOf } from './support/options.js';
import { type Clients, clientIdsOf } from './support/pushes/backend.js';
import { buildGoBackend, GoBackend } from './support/pushes/go-backend.js';
import { FAN_OUTS, LOAD_NAMES, type LoadName, steadyLoad } from './support/pushes/loads.js';
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
import { rounded } from './support/statistics.js';

const PEER_NAMES = ['centrifugo', 'nats'] as const;
const WARM_UP_CONNECTIONS = 2_000;

type Run = ConnectRun | SteadyRun | FanOutRun;
type RunName = LoadName | 'connects';

const options = parseOptions({
  peers: someOf(PEER_NAMES),
  loads: someOf([...LOAD_NAMES, 'connects'] as const),
  'warm-up': number(10, 0),
  seconds: number(3, 0.1),
  rounds: number(3),
  pace: number(5_000),
  devices: number(2_000, 1, 19_000),
  'fan-out': number(16_000, 1, 19_000),
});
const { json, loads, rounds, seconds, pace, devices } = options;
const warmUpSeconds = options['warm-up'];

const backend = buildGoBackend();
if ('missing' in backend) {
  report(json, { missing: backend.missing });
} else {
  const peers: Peer[] = [longline()];
  if (loads.includes('connects')) peers.push(longlinePaced());
  const stored = longlineStored();
  if (loads.some((load) => isLoadOf(stored, load))) peers.push(stored);
  const missing: Record<string, string> = {};
  for (const name of options.peers) {
    const peer = name === 'nats' ? nats() : centrifugo();
    if ('missing' in peer) missing[name] = peer.missing;
    else peers.push(peer);
  }
  await compare(peers, backend.path, missing);
}

function isLoadOf(peer: Peer, load: RunName): boolean {
  return [...peer.steady, ...peer.fanOuts].some((name) => name === load);
}

async function compare(
  peers: readonly Peer[],
  program: string,
  missing: Readonly<Record<string, string>>,
): Promise<void> {
  const runs = new Map<RunName, Map<string, Run[]>>();
  for (let round = 0; round < rounds; round++) {
    for (const peer of peers) {
      await measure(peer, program, (load, run) => {
        const speed = 'ms' in run ? `${run.ms} ms` : `${run.perSecond} per second`;
        progress(`${peer.name}, ${load}: ${speed}, ${run.cpuUs.server!.total} µs of server CPU`);
        const byPeer = runs.get(load) ?? new Map<string, Run[]>();
        runs.set(load, byPeer.set(peer.name, [...(byPeer.get(peer.name) ?? []), run]));
      });
    }
  }
  const figures = [...runs].map(([load, byPeer]) => [load, compareRuns(byPeer)] as const);
  const result = {
    servers: Object.fromEntries(peers.map(({ name, settings }) => [name, settings])),
    ...(Object.keys(missing).length > 0 && { missing }),
    ...Object.fromEntries(figures),
    settings: { warmUpSeconds, seconds, rounds, pace, devices, fanOut: options['fan-out'] },
  };
  report(json, result, () => printTable(result.servers, missing, figures));
}

/** One round of one server. */
async function measure(
  peer: Peer,
  program: string,
  onRun: (load: RunName, run: Run) => void,
): Promise<void> {
  const server = await peer.start();
  const { backend } = server;
  const pushes = new GoBackend(program, backend.server, backend.addresses);
  try {
    if (peer.measuresConnects && loads.includes('connects')) {
      onRun('connects', await measureConnects(server));
    }
    const steady = peer.steady.filter((name) => loads.includes(name));
    const steadyClients = { clients: devices, prefix: 'device-' };
    await withParties(server, pushes, 'pushes', steady.length > 0 && steadyClients, async (all) => {
      for (const name of steady) {
        onRun(name, await steadyRun(all, steadyLoad(name, pace), warmUpSeconds, seconds));
      }
    });
    const fanOuts = peer.fanOuts.filter((name) => loads.includes(name));
    const manyClients = { clients: options['fan-out'], prefix: 'fan-' };
    await withParties(server, pushes, 'fanOuts', fanOuts.length > 0 && manyClients, async (all) => {
      for (const name of fanOuts) onRun(name, await fanOutRun(all, FAN_OUTS[name]));
    });
  } finally {
    await pushes.close();
    await server.stop();
  }
}

async function measureConnects(server: PeerServer): Promise<ConnectRun> {
  const receivers = new Receivers(server.deviceKind);
  const devicesOf = (clients: Clients) => server.devicesOf(clientIdsOf(clients), 'connects');
  try {
    return await connectRun(server.pids, receivers, {
      warmUp: await devicesOf({ clients: WARM_UP_CONNECTIONS, prefix: 'warm-up-' }),
      measured: await devicesOf({ clients: options['fan-out'], prefix: 'connect-' }),
    });
  } finally {
    await receivers.stop();
  }
}

/** Calls `run` while the clients' devices are connected; not at all without clients. */
async function withParties(
  server: PeerServer,
  backend: GoBackend,
  purpose: Purpose,
  clients: Clients | false,
  run: (parties: Parties) => Promise<void>,
): Promise<void> {
  if (!clients) return;
  const receivers = new Receivers(server.deviceKind);
  try {
    await receivers.connect(await server.devicesOf(clientIdsOf(clients), purpose));
    await run({ backend, receivers, clients, server: server.pids });
  } finally {
    await receivers.stop();
  }
}

type Compared = Readonly<
  Record<string, Run & { readonly ratio?: number; readonly cpuRatio?: number }>
>;

/** The medians of each server, and Longline beside it. */
function compareRuns(byPeer: ReadonlyMap<string, readonly Run[]>): Compared {
  const medians = [...byPeer].map(([name, runs]) => [name, medianOf(runs)] as const);
  const [, ours] = medians[0]!;
  const compared = medians.map(([name, run]) => {
    const [speed, theirs] = [speedOf(ours), speedOf(run)];
    const ratio = 'ms' in run ? theirs / speed : speed / theirs;
    const cpuRatio = run.cpuUs.server!.total / ours.cpuUs.server!.total;
    const ratios = { ratio: rounded(ratio, 2), cpuRatio: rounded(cpuRatio, 2) };
    return [name, name === 'longline' ? run : { ...run, ...ratios }];
  });
  return Object.fromEntries(compared);
}

function speedOf(run: Run): number {
  return 'ms' in run ? run.ms : run.perSecond;
}

function medianOf(runs: readonly Run[]): Run {
  if ('ms' in runs[0]!) return medianFanOutRun(runs as FanOutRun[]);
  if ('p50Ms' in runs[0]!) return medianSteadyRun(runs as SteadyRun[]);
  return medianConnectRun(runs as ConnectRun[]);
}

function printTable(
  servers: Readonly<Record<string, Peer['settings']>>,
  missing: Readonly<Record<string, string>>,
  figures: readonly (readonly [RunName, Compared])[],
): void {
  for (const [name, settings] of Object.entries(servers)) {
    console.log(`${name}: ${Object.values(settings).join('; ')}`);
  }
  for (const [name, reason] of Object.entries(missing)) console.log(`no ${name}: ${reason}`);
  const rows = figures.flatMap(([load, byPeer]) =>
    Object.entries(byPeer).map(([name, run]) => {
      const speed = 'ms' in run ? ['', run.ms] : [run.perSecond, ''];
      const latency = 'p50Ms' in run ? [run.p50Ms, run.p99Ms] : ['', ''];
      const cpu = run.cpuUs;
      const load_ = [cpu.redis?.total ?? '', cpu.backend?.total ?? '', cpu.devices!.total];
      const ratios = [run.ratio ?? '', run.cpuRatio ?? ''];
      const server = cpu.server!.total;
      return [load, name, ...speed, ...latency, server, ...load_, ...ratios, run.otherCores];
    }),
  );
  const titles = ['', '', 'per second', 'ms', 'p50 ms', 'p99 ms', 'server µs', 'of it Redis'];
  console.log(table([...titles, 'backend', 'devices', 'ratio', 'cpu ratio', 'other cores'], rows));
}
