/**
 * One drill: a cluster of real processes, devices, a backend and a schedule of faults. Then the
 * faults stop, everything recovers, and all accepted pushes must arrive.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { LocalCluster } from '../cli/local/cluster.js';
import { readLogLine } from '../cli/local/log-line.js';
import { Failure } from '../cli/terminal/failure.js';
import type { Family, RedisKind, ScheduleShape } from './faults/kinds/fault-kind.js';
import type { FaultKindName } from './faults/kinds.js';
import { Nemesis } from './faults/nemesis.js';
import { between, pick, seeded } from './faults/random.js';
import { ClusterRedis } from './faults/redis-cluster-fixture.js';
import { type RedisFixture, StandaloneRedis } from './faults/redis-fixture.js';
import { planFaults, type Scheduled } from './faults/schedule.js';
import { check, type Finding } from './history/check.js';
import { type History, type HistoryInProgress, newHistory } from './history/history.js';
import { Backend } from './load/backend.js';
import { Fleet } from './load/fleet.js';
import { Recovery, until } from './recovery.js';
import { makeTemporaryFolder } from './temporary-folder.js';

export interface DrillOptions {
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
const PUSH_TICK_MS = 10;
/** Flood of a paused device: more than the sockets on the way can buffer. */
const FLOOD_PUSHES = 100;
const FLOOD_BYTES = 96 * 1024;

/** @throws Failure when the cluster does not start, or `signal` aborts the drill */
export async function runDrill(options: DrillOptions): Promise<DrillResult> {
  const folder = await makeTemporaryFolder();
  try {
    return await withRedis(options, folder.path);
  } catch (error) {
    // After an abort, every operation in flight fails.
    throw options.signal.aborted ? new Failure('stopped before the end of the drill') : error;
  } finally {
    await folder.remove();
  }
}

async function withRedis(options: DrillOptions, folder: string): Promise<DrillResult> {
  const start = options.redis === 'cluster' ? ClusterRedis.start : StandaloneRedis.start;
  const redis = await start(folder, options.log);
  try {
    const cluster = await startCluster(options, redis.url);
    try {
      await cluster.waitUntilReady(READY_MS_MAX);
      return await drill(options, cluster, redis);
    } finally {
      await cluster.stop();
    }
  } finally {
    await redis.stop();
  }
}

function startCluster(options: DrillOptions, redisUrl: string): Promise<LocalCluster> {
  return LocalCluster.start({
    redisUrl,
    edges: EDGES,
    routers: ROUTERS,
    ...(options.root !== undefined && { root: options.root }),
    ports: 'free',
    restart: true,
    signal: options.signal,
    env: {
      LONGLINE_CONTROL_LEASE_MS: `${LEASE_MS}`,
      LONGLINE_EDGE_HEARTBEAT_MS: `${HEARTBEAT_MS}`,
      // A push that is trimmed from a full inbox would look lost.
      LONGLINE_ROUTER_INBOX_COUNT_MAX: '1000000',
      LONGLINE_ROUTER_INBOX_BYTES_MAX: `${256 * 1024 * 1024}`,
    },
    onOutput: (name, line) => {
      const { text, isAlarming } = readLogLine(line);
      if (isAlarming && options.isVerbose) options.log(`${name}: ${text}`);
    },
  });
}

async function drill(
  options: DrillOptions,
  cluster: LocalCluster,
  redis: RedisFixture,
): Promise<DrillResult> {
  const { log, recoveryMsMax, signal } = options;
  const history = newHistory();
  const shape = shapeOf(options);
  const schedule = planFaults(shape);
  const { backend, fleet } = createLoad(options, cluster, redis, history);
  const parts = { cluster, fleet, backend, history, recoveryMsMax, signal, log };
  const nemesis = new Nemesis({ ...parts, redis });
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
  } finally {
    clearInterval(pushing);
    nemesis.unfreezeAll();
    backend.close();
    fleet.stop();
  }
  const { stuck } = recovery;
  return { options, schedule, faults: nemesis.counts, history, findings: check(history), stuck };
}

function createLoad(
  options: DrillOptions,
  cluster: LocalCluster,
  redis: RedisFixture,
  history: HistoryInProgress,
): { readonly backend: Backend; readonly fleet: Fleet } {
  const random = seeded(options.seed);
  const routers = cluster.namesOf('router');
  const backend = new Backend({
    routers: routers.map((name) => cluster.grpcAddress(name)),
    history,
    random,
    acceptLevels: redis.acceptLevels,
    runId: `${options.seed}`,
  });
  const fleet = new Fleet({
    count: options.clients,
    prefix: 'device',
    routerUrls: routers.map((name) => cluster.httpUrl(name)),
    edgeUrls: cluster.namesOf('edge').map((name) => cluster.edgeUrl(name)),
    heartbeatMs: HEARTBEAT_MS,
    history,
    random,
    signal: options.signal,
    flood: (clientId) => {
      for (let i = 0; i < FLOOD_PUSHES; i++) backend.push(clientId, true, FLOOD_BYTES);
    },
  });
  return { backend, fleet };
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
  const startMs = performance.now();
  let pushed = 0;
  return setInterval(() => {
    const due = ((performance.now() - startMs) / 1000) * pushesPerSecond;
    for (; pushed < due; pushed++) {
      const among = random() < 0.5 ? fleet.devices.slice(0, devicesBusy) : fleet.devices;
      const bytes = random() < 0.02 ? between(random, 1_000, 16_000) : between(random, 20, 300);
      backend.push(pick(random, among).clientId, random() >= LIVE_SHARE, bytes);
    }
  }, PUSH_TICK_MS);
}
