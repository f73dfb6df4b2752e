/**
 * One drill: a cluster of real processes, devices, a backend and a schedule of faults. Then the
 * faults stop, everything recovers, and all accepted pushes must arrive.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { LocalCluster } from '../cli/local/cluster.js';
import { readLogLine } from '../cli/local/log-line.js';
import { Failure } from '../cli/terminal/failure.js';
import { Clocks } from './clock/clocks.js';
import type { Family, RedisKind, ScheduleShape } from './faults/kinds/fault-kind.js';
import { DEVICE_GROUPS } from './faults/kinds/network.js';
import { EVICTION_POLICY } from './faults/kinds/redis-faults.js';
import type { FaultKindName } from './faults/kinds.js';
import { Nemesis } from './faults/nemesis.js';
import { between, pick, seeded } from './faults/random.js';
import { CLUSTER_NODES, ClusterRedis } from './faults/redis-cluster-fixture.js';
import {
  HERE,
  type RedisFixture,
  type RedisPlace,
  redisName,
  StandaloneRedis,
} from './faults/redis-fixture.js';
import { planFaults, type Scheduled } from './faults/schedule.js';
import { check } from './history/check.js';
import type { Finding } from './history/checks.js';
import { type History, type HistoryInProgress, newHistory } from './history/history.js';
import { Backend } from './load/backend.js';
import { EventConsumers } from './load/event-consumers.js';
import { Fleet } from './load/fleet.js';
import { readLedger } from './load/ledger.js';
import { PresenceWatcher } from './load/presence-watcher.js';
import { MemoryGroups } from './memory/memory-groups.js';
import { Network } from './network/network.js';
import { Recovery, until } from './recovery.js';
import { makeTemporaryFolder } from './temporary-folder.js';

export interface DrillOptions {
  /** Number of this drill if several run after one another: their pushes and devices differ. */
  readonly part: number;
  /** Duration of the faults. Start and recovery take 10 to 30 seconds more. */
  readonly seconds: number;
  readonly seed: number;
  readonly clients: number;
  readonly pushesPerSecond: number;
  readonly redis: RedisKind;
  /** Families of faults beside the basic ones, with what each needs in the cluster. */
  readonly families: readonly Family[];
  /** Kinds of faults to inject. */
  readonly kinds: readonly FaultKindName[];
  /** Folder of dist/: the package's own by default, or a patched copy. */
  readonly root?: string;
  /** Whether events are on: then the scripts of edges and routers are others. */
  readonly events: boolean;
  /** Time in which a member must become ready again, and in which accepted pushes must arrive. */
  readonly recoveryMsMax: number;
  /** Duration of pushing after the recovery. */
  readonly calmMs: number;
  /** Also logs the warnings of the roles; faults cause many. */
  readonly isVerbose: boolean;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

export interface DrillResult {
  readonly options: DrillOptions;
  readonly schedule: readonly Scheduled[];
  /** Faults that were injected, by kind. */
  readonly faults: Readonly<Partial<Record<FaultKindName, number>>>;
  readonly history: History;
  readonly findings: readonly Finding[];
  /** Descriptions of what did not recover after the faults. */
  readonly stuck: readonly string[];
}

const EDGES = 3;
const ROUTERS = 2;
/** Edges report every two seconds: a shorter lease would expire for healthy ones. */
const LEASE_MS = 5_000;
/** Short, so that devices soon give up a silent connection. */
const HEARTBEAT_MS = 2_000;
const READY_MS_MAX = 60_000;
const CONNECTING_MS = 2_000;
/** One device in ten gets half of the pushes, and most of the faults. */
const BUSY_SHARE = 0.1;
const LIVE_SHARE = 0.2;
/** Number of pushes to several clients for each other push. */
const MANY_SHARE = 1 / 500;
/** The first devices, which have most of the faults. */
const MANY_CLIENTS = 40;
const PUSH_TICK_MS = 10;
const EVENT_CONSUMERS = 3;
/** More than any part of a drill has. */
const PUSHES_PER_PART = 100_000_000;
/** Flood of a paused device: more than the sockets on the way can buffer. */
const FLOOD_PUSHES = 100;
const FLOOD_BYTES = 96 * 1024;
/** Crashes that are described, with the last lines of each. */
const CRASHES_MAX = 20;
const CRASH_LINES = 12;

/** @throws Failure when the cluster does not start, or `signal` aborts the drill */
export async function runDrill(options: DrillOptions): Promise<DrillResult> {
  const folder = await makeTemporaryFolder();
  try {
    return await withNetwork(options, folder.path);
  } catch (error) {
    // After an abort, every operation in flight fails.
    throw options.signal.aborted ? new Failure('stopped before the end of the drill') : error;
  } finally {
    await folder.remove();
  }
}

async function withNetwork(options: DrillOptions, folder: string): Promise<DrillResult> {
  if (!options.families.includes('network')) return withMemory(options, folder, undefined);
  const servers = Array.from({ length: CLUSTER_NODES }, (_, i) => redisName(i));
  const members = [...memberNames(options), ...servers];
  const { seed } = options;
  const network = await Network.start({ members, groups: DEVICE_GROUPS, folder, seed });
  try {
    return await withMemory(options, folder, network);
  } finally {
    await network.close();
  }
}

async function withMemory(
  options: DrillOptions,
  folder: string,
  network: Network | undefined,
): Promise<DrillResult> {
  const clocks = options.families.includes('clocks') ? await Clocks.open(folder) : undefined;
  if (!options.families.includes('memory')) {
    return withRedis(options, folder, { network, clocks, memory: undefined });
  }
  const memory = await MemoryGroups.open(memberNames(options));
  try {
    return await withRedis(options, folder, { network, clocks, memory });
  } finally {
    await memory.close();
  }
}

/**
 * Names of the roles, as `LocalCluster` chooses them: the first control and router have no number.
 */
function memberNames(options: DrillOptions): string[] {
  const numbered = (role: string, count: number) =>
    Array.from({ length: count }, (_, i) => (i === 0 ? role : `${role}-${i + 1}`));
  return [
    ...numbered('control', controlsOf(options)),
    ...numbered('router', ROUTERS),
    ...Array.from({ length: EDGES }, (_, i) => `edge-${i + 1}`),
  ];
}

/** Network, clocks and memory of the processes, if they have their own. */
interface Surroundings {
  readonly memory: MemoryGroups | undefined;
  readonly network: Network | undefined;
  readonly clocks: Clocks | undefined;
}

async function withRedis(
  options: DrillOptions,
  folder: string,
  surroundings: Surroundings,
): Promise<DrillResult> {
  const redis = await startRedis(options, folder, surroundings);
  try {
    const crashes: string[] = [];
    const cluster = await startCluster(options, redis, surroundings, crashes);
    try {
      await cluster.waitUntilReady(READY_MS_MAX);
      return await drill(options, { ...surroundings, cluster, redis, crashes });
    } finally {
      await cluster.stop();
    }
  } finally {
    await redis.stop();
  }
}

function startRedis(
  { redis, families, log }: DrillOptions,
  parent: string,
  { network, clocks }: Surroundings,
): Promise<RedisFixture> {
  const place: RedisPlace = {
    hostOf: (i) => network?.hostOf(redisName(i)) ?? HERE.hostOf(i),
    standbyHost: network?.hostOf(redisName(1)) ?? HERE.standbyHost,
    commandOf: (i) => [
      ...(network?.commandOf(redisName(i)) ?? HERE.commandOf(i)),
      ...(clocks?.redisCommand(redisName(i)) ?? []),
    ],
  };
  const options = { parent, place, onProgress: log };
  if (redis === 'standalone') return StandaloneRedis.start(options);
  return ClusterRedis.start(
    options,
    families.length === 0 ? ['replicated'] : ['accepted', 'fsynced', 'replicated'],
  );
}

/** A second one, so that another takes over when the leader is partitioned. */
function controlsOf({ families }: DrillOptions): number {
  return families.includes('network') ? 2 : 1;
}

function startCluster(
  options: DrillOptions,
  { url, name: redisName }: RedisFixture,
  { network, clocks, memory }: Surroundings,
  crashes: string[],
): Promise<LocalCluster> {
  /** The newest alarming lines of each role. */
  const alarms = new Map<string, string[]>();
  const modules = [clocks, redisName].flatMap((each) => each?.module ?? []);
  return LocalCluster.start({
    redisUrl: url,
    edges: EDGES,
    routers: ROUTERS,
    controls: controlsOf(options),
    launchOf: (name) => ({
      env: {
        ...(network && { LONGLINE_HOST: network.hostOf(name) }),
        ...clocks?.envOf(name),
        ...redisName?.env,
        ...envLoading(modules),
      },
      command: [...(memory?.commandOf(name) ?? []), ...(network?.commandOf(name) ?? [])],
    }),
    ...(options.root !== undefined && { root: options.root }),
    ports: 'free',
    restart: true,
    signal: options.signal,
    env: {
      LONGLINE_CONTROL_LEASE_MS: `${LEASE_MS}`,
      LONGLINE_EDGE_HEARTBEAT_MS: `${HEARTBEAT_MS}`,
      ...(options.events && { LONGLINE_EVENTS: 'clients,pushes' }),
      ...(options.families.includes('redis-faults') && {
        LONGLINE_REDIS_EVICTION_ACCEPTED: EVICTION_POLICY,
      }),
      // A push that is trimmed from a full inbox would look lost.
      LONGLINE_ROUTER_INBOX_COUNT_MAX: '1000000',
      LONGLINE_ROUTER_INBOX_BYTES_MAX: `${256 * 1024 * 1024}`,
    },
    onOutput: (name, line) => {
      const { text, isAlarming } = readLogLine(line);
      if (isAlarming && options.isVerbose) options.log(`${name}: ${text}`);
      const lines = alarms.get(name) ?? [];
      if (isAlarming) alarms.set(name, [...lines.slice(1 - CRASH_LINES), text]);
      // Faults and the kernel kill roles with signals: one that exits has met something unexpected.
      if (!/^died \(exit status/.test(text)) return;
      const crash = `${name} ${[text, ...lines].join('\n  ')}`;
      options.log(crash);
      if (crashes.length < CRASHES_MAX) crashes.push(crash);
    },
  });
}

/** Environment in which a process loads these modules before its own code. */
function envLoading(modules: readonly string[]): NodeJS.ProcessEnv {
  if (modules.length === 0) return {};
  const options = modules.map((module) => `--import=${module}`);
  return { NODE_OPTIONS: [process.env.NODE_OPTIONS, ...options].filter(Boolean).join(' ') };
}

interface Fixtures extends Surroundings {
  readonly cluster: LocalCluster;
  readonly redis: RedisFixture;
  /** Roles that have ended by themselves, and what they said last. */
  readonly crashes: readonly string[];
}

async function drill(options: DrillOptions, fixtures: Fixtures): Promise<DrillResult> {
  const { cluster } = fixtures;
  const { log, recoveryMsMax, signal } = options;
  const history = newHistory();
  const shape = shapeOf(options);
  const schedule = planFaults(shape);
  const { backend, fleet } = createLoad(options, fixtures, history);
  const reader = readerOf(options, cluster, history);
  const consumers = options.events
    ? new EventConsumers({ ...reader, count: EVENT_CONSUMERS })
    : undefined;
  const clientIds = fleet.devices.map(({ clientId }) => clientId);
  const presence = options.events ? new PresenceWatcher({ ...reader, clientIds }) : undefined;
  const parts = { cluster, fleet, backend, consumers, history, recoveryMsMax, signal, log };
  const nemesis = new Nemesis({ ...parts, ...fixtures });
  const recovery = new Recovery(parts);
  let pushing: NodeJS.Timeout | undefined;
  try {
    await connectAll(options, fleet);
    log(`${options.clients} devices are connected; injecting ${schedule.length} faults`);
    pushing = startPushing(options, shape.devicesBusy, backend, fleet);
    const duration = sleep(options.seconds * 1000, undefined, { signal });
    // Also after an abort, the nemesis first finishes the faults in progress.
    const [injected] = await Promise.allSettled([nemesis.run(schedule), duration]);
    if (injected.status === 'rejected') throw injected.reason;
    signal.throwIfAborted();
    await recovery.recover();
    await sleep(options.calmMs, undefined, { signal });
    clearInterval(pushing);
    await recovery.drain();
    history.ledger = await readLedger(cluster.controlUrl, history, signal);
    if (history.ledger === undefined) recovery.stuck.push('no control returns the ledger');
  } finally {
    clearInterval(pushing);
    nemesis.unfreezeAll();
    backend.close();
    // First, so that they do not receive the ends of all connections.
    consumers?.close();
    presence?.close();
    fleet.stop();
  }
  const stuck = [...fixtures.crashes, ...recovery.stuck];
  return { options, schedule, faults: nemesis.counts, history, findings: check(history), stuck };
}

function createLoad(
  options: DrillOptions,
  { cluster, redis, network }: Fixtures,
  history: HistoryInProgress,
): { readonly backend: Backend; readonly fleet: Fleet } {
  const random = seeded(options.seed);
  const routers = cluster.namesOf('router');
  const backend = new Backend({
    routers: routers.map((name) => cluster.grpcAddress(name)),
    history,
    random,
    acceptLevels: redis.acceptLevels,
    firstNumber: options.part * PUSHES_PER_PART + 1,
    runId: `${options.seed}`,
  });
  const fleet = new Fleet({
    count: options.clients,
    prefix: options.part === 0 ? 'device' : `device-${options.part + 1}`,
    routerUrls: routers.map((name) => cluster.httpUrl(name)),
    edgeUrls: cluster.namesOf('edge').map((name) => cluster.edgeUrl(name)),
    heartbeatMs: HEARTBEAT_MS,
    sourceHostOf: (i) => network?.groupHost(i % DEVICE_GROUPS),
    history,
    random,
    signal: options.signal,
    flood: (clientId) => {
      for (let i = 0; i < FLOOD_PUSHES; i++) backend.push(clientId, true, FLOOD_BYTES);
    },
  });
  return { backend, fleet };
}

/** Shared by those that read events and presence. */
function readerOf({ seed }: DrillOptions, cluster: LocalCluster, history: HistoryInProgress) {
  const hosts = cluster
    .namesOf('edge')
    .map((name) => [name, new URL(cluster.edgeUrl(name)).host] as const);
  return {
    routers: cluster.namesOf('router').map((name) => cluster.grpcAddress(name)),
    edges: new Map(hosts),
    history,
    random: seeded(seed + 2),
  };
}

async function connectAll({ clients, signal }: DrillOptions, fleet: Fleet): Promise<void> {
  await fleet.connect(CONNECTING_MS);
  if (await until(() => fleet.openCount === clients, READY_MS_MAX, signal)) return;
  throw new Failure(`only ${fleet.openCount} of ${clients} devices could connect`);
}

function shapeOf(options: DrillOptions): ScheduleShape {
  return {
    seed: options.seed,
    durationMs: options.seconds * 1000,
    controls: controlsOf(options),
    edges: EDGES,
    routers: ROUTERS,
    devices: options.clients,
    devicesBusy: Math.max(1, Math.floor(options.clients * BUSY_SHARE)),
    leaseMs: LEASE_MS,
    kinds: options.kinds,
  };
}

/** Pushes at a constant rate until the returned timer is cleared. */
function startPushing(
  { pushesPerSecond, seed }: DrillOptions,
  devicesBusy: number,
  backend: Backend,
  fleet: Fleet,
): NodeJS.Timeout {
  const random = seeded(seed + 1);
  const clientIds = fleet.devices.slice(0, MANY_CLIENTS).map(({ clientId }) => clientId);
  const startMs = performance.now();
  let pushed = 0;
  return setInterval(() => {
    const due = ((performance.now() - startMs) / 1000) * pushesPerSecond;
    for (; pushed < due; pushed++) {
      const among = random() < 0.5 ? fleet.devices.slice(0, devicesBusy) : fleet.devices;
      const bytes = random() < 0.02 ? between(random, 1_000, 16_000) : between(random, 20, 300);
      backend.push(pick(random, among).clientId, random() >= LIVE_SHARE, bytes);
      if (random() < MANY_SHARE) backend.pushMany(clientIds, bytes);
    }
  }, PUSH_TICK_MS);
}
