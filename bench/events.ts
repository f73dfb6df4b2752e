/**
 * What events and flight records cost a push: processor time of three clusters, one without events,
 * one with them, and one that also records one push in a hundred. All run at the same time and are
 * pushed to in turn, so that each round has a pair for each comparison.
 *
 * The devices confirm nothing, and their inboxes are full after the warm-up. So with events each
 * durable push is noted, and drops an older one, which is an event as its confirmation would be.
 *
 *   cpuUs        microseconds of processor time per push, medians: server, router, redis, edges
 *   ratios       of the same, over the run without events of the same round, medians
 *   otherCores   cores that processes outside the run used, the idle clusters included
 *
 * `--loads` (streamLive,streamDurable), `--warm-up` (of each load), `--seconds` (of each run),
 * `--rounds`, `--pace`, `--devices` and `--backend` are those of `bench:push`; `--json` prints one
 * line.
 */
import { table } from '../cli/commands/table.js';
import { type BenchCluster, pidsOf, startBenchCluster } from './support/cluster/bench-cluster.js';
import { devicePort, holdOwners } from './support/cluster/edge-ports.js';
import { startReceivers } from './support/devices/receivers.js';
import { number, oneOf, parseOptions, someOf } from './support/options.js';
import { type Clients, clientIdsOf } from './support/pushes/backend.js';
import { STEADY_NAMES, type SteadyName, steadyLoad } from './support/pushes/loads.js';
import { BACKENDS, openBackend } from './support/pushes/open-backend.js';
import { type Parties, type SteadyRun, steadyRun } from './support/pushes/runs.js';
import { progress, report } from './support/report.js';
import { runInTurn } from './support/rounds.js';
import { median, medianOf, rounded } from './support/statistics.js';

const EVENTS = { LONGLINE_EVENTS: 'clients,pushes' };
const SETTINGS = {
  off: {},
  on: EVENTS,
  onRecorded: { ...EVENTS, LONGLINE_ROUTER_FLIGHT_RECORD_SHARE: '0.01' },
} as const satisfies Record<string, NodeJS.ProcessEnv>;
type Setting = keyof typeof SETTINGS;
const NAMES = Object.keys(SETTINGS) as readonly Setting[];

const PARTS = ['server', 'router', 'redis', 'edge'] as const;
const DEFAULT_LOADS: readonly SteadyName[] = ['streamLive', 'streamDurable'];
/** Load before each run: the other clusters were pushed to meanwhile. */
const RAMP_SECONDS = 0.5;
/** So small that the inboxes are full after the warm-up. */
const INBOX_PUSHES = 50;

const options = parseOptions({
  loads: { ...someOf(STEADY_NAMES), fallback: DEFAULT_LOADS },
  'warm-up': number(10, 0),
  seconds: number(2, 0.1),
  rounds: number(5),
  pace: number(5_000),
  devices: number(1_000, 1, 19_000),
  backend: oneOf(BACKENDS, 'auto'),
});
const { json, loads, seconds, rounds } = options;

interface Side {
  readonly parties: Parties;
  stop(): Promise<void>;
}

const sides = new Map<Setting, Side>();
let result: Record<string, ReturnType<typeof resultOf>>;
try {
  for (const name of NAMES) sides.set(name, await openSide(name));
  const runs: (readonly [SteadyName, Record<Setting, SteadyRun[]>])[] = [];
  for (const load of loads) runs.push([load, await runLoad(load)]);
  result = Object.fromEntries(runs.map(([load, ofLoad]) => [load, resultOf(ofLoad)]));
} finally {
  await Promise.all([...sides.values()].map((side) => side.stop()));
}
report(json, { parts: PARTS, ...result }, printTable);

async function openSide(name: Setting): Promise<Side> {
  progress(`starting a cluster: ${name}`);
  const env = {
    // Devices that connect are not what is measured.
    LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX: '0',
    LONGLINE_ROUTER_INBOX_COUNT_MAX: `${INBOX_PUSHES}`,
    ...SETTINGS[name],
  };
  const started = await startBenchCluster({ routers: 1, edges: 2, env });
  try {
    return await openParties(started);
  } catch (error) {
    await started.stop();
    throw error;
  }
}

async function openParties({ cluster, redis, stop }: BenchCluster): Promise<Side> {
  const addresses = cluster.namesOf('router').map((name) => cluster.grpcAddress(name));
  const backend = await openBackend(options.backend, addresses);
  const clients: Clients = { clients: options.devices, prefix: 'device-' };
  const ownerOf = await holdOwners(cluster);
  const urls = clientIdsOf(clients).map(
    (id) => `http://127.0.0.1:${devicePort(cluster, ownerOf(id))}/connect?clientId=${id}`,
  );
  const receivers = await startReceivers(urls);
  return {
    parties: { backend, receivers, clients, server: pidsOf(cluster, redis) },
    stop: async () => {
      await receivers.stop();
      await backend.close();
      await stop();
    },
  };
}

async function runLoad(name: SteadyName): Promise<Record<Setting, SteadyRun[]>> {
  const run = (setting: Setting, rampSeconds: number) => {
    return steadyRun(
      sides.get(setting)!.parties,
      steadyLoad(name, options.pace),
      rampSeconds,
      seconds,
    );
  };
  for (const setting of NAMES) {
    progress(`${name}: warming up ${setting}`);
    await run(setting, options['warm-up']);
  }
  progress(`${name}: ${rounds} rounds`);
  return runInTurn(rounds, NAMES, (setting) => run(setting, RAMP_SECONDS));
}

function resultOf(runs: Record<Setting, readonly SteadyRun[]>) {
  const ofEach = <Figure>(figure: (setting: Setting) => Figure) =>
    Object.fromEntries(NAMES.map((name) => [name, figure(name)])) as Record<Setting, Figure>;
  const ratioOf = (setting: Setting, part: string) =>
    median(runs[setting].map((run, i) => cpuOf(run, part) / cpuOf(runs.off[i]!, part)));
  return {
    cpuUs: ofEach((name) =>
      PARTS.map((part) => medianOf(runs[name], (run) => cpuOf(run, part), 1)),
    ),
    ratios: ofEach((name) => PARTS.map((part) => rounded(ratioOf(name, part), 3))),
    perSecond: ofEach((name) => medianOf(runs[name], (run) => run.perSecond, 0)),
    otherCores: medianOf(Object.values(runs).flat(), (run) => run.otherCores, 2),
  };
}

/** A part may be several processes, such as `edge-1` and `edge-2`. */
function cpuOf({ cpuUs }: SteadyRun, part: string): number {
  return Object.entries(cpuUs)
    .filter(([name]) => name === part || name.startsWith(`${part}-`))
    .reduce((sum, [, { total }]) => sum + total, 0);
}

function printTable(): void {
  const rows = Object.entries(result).flatMap(([load, { cpuUs, ratios, perSecond }]) =>
    NAMES.map((name) => [
      ...[load, name, perSecond[name]],
      ...PARTS.map((_, i) => `${cpuUs[name][i]} (${ratios[name][i]})`),
    ]),
  );
  console.log(table(['', 'events', 'per second', ...PARTS.map((part) => `${part} µs`)], rows));
}
