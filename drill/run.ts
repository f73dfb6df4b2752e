/**
 * One drill: a cluster of real processes, devices, a backend and a schedule of faults; then
 * everything is healed, and all that was accepted has to arrive.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../cli/failure.js';
import { LocalCluster } from '../cli/local/cluster.js';
import { readLogLine } from '../cli/local/log-line.js';
import { Ending, until } from './ending.js';
import { ClusterStore } from './faults/cluster-store.js';
import { Nemesis } from './faults/nemesis.js';
import { between, pick, seeded } from './faults/random.js';
import {
  type FaultKind,
  planFaults,
  type RedisKind,
  type Scheduled,
  type ScheduleShape,
} from './faults/schedule.js';
import { StandaloneStore, type Store } from './faults/store.js';
import { check, type Finding } from './history/check.js';
import { type History, newHistory } from './history/history.js';
import { Backend } from './load/backend.js';
import { Fleet } from './load/fleet.js';
import { makeScratch, type Scratch } from './scratch.js';

export interface DrillOptions {
  /** How long things break. Starting before and healing after take 10 to 30 seconds more. */
  readonly seconds: number;
  readonly seed: number;
  readonly clients: number;
  readonly pushesPerSecond: number;
  readonly redis: RedisKind;
  /** What is broken. */
  readonly kinds: readonly FaultKind[];
  /** Where dist/ is: the package's own folder unless a patched copy is to run. */
  readonly root?: string;
  /** How long a member may take to be ready again, and what was accepted to arrive in the end. */
  readonly patienceMs: number;
  /** How long pushing goes on after everything is healed. */
  readonly calmMs: number;
  /** Also says what the roles warn about: while things break, that is a lot. */
  readonly isVerbose: boolean;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

export interface DrillResult {
  readonly options: DrillOptions;
  readonly schedule: readonly Scheduled[];
  /** What was really done, by kind. */
  readonly faults: Readonly<Partial<Record<FaultKind, number>>>;
  readonly history: History;
  readonly findings: readonly Finding[];
  /** What did not come to rest although everything was healed. */
  readonly stuck: readonly string[];
}

const EDGES = 3;
const ROUTERS = 2;
/** Edges report every two seconds: shorter would depose healthy ones. */
const LEASE_MS = 5_000;
/** Often, so that devices soon give up what is silent. */
const HEARTBEAT_MS = 2_000;
const READY_MS_MAX = 60_000;
const CONNECTING_MS = 2_000;
/** One device in ten gets half of the pushes, and most of the faults. */
const BUSY_PART = 0.1;
const LIVE_PART = 0.2;
const PUSH_TICK_MS = 10;
/** What a paused reader gets: more than the sockets between take. */
const FLOOD_PUSHES = 100;
const FLOOD_BYTES = 96 * 1024;

/** @throws Failure when the cluster does not start, or the drill is told to stop */
export async function runDrill(options: DrillOptions): Promise<DrillResult> {
  const scratch = await makeScratch();
  try {
    return await withStore(options, scratch);
  } catch (error) {
    // Whatever was under way has failed because it was told to.
    throw options.signal.aborted ? new Failure('stopped before the drill was over') : error;
  } finally {
    await scratch.remove();
  }
}

async function withStore(options: DrillOptions, scratch: Scratch): Promise<DrillResult> {
  const start = options.redis === 'cluster' ? ClusterStore.start : StandaloneStore.start;
  const store = await start(scratch.path, options.say);
  try {
    const cluster = await startCluster(options, store.url);
    try {
      await cluster.waitUntilReady(READY_MS_MAX);
      return await drill(options, cluster, store);
    } finally {
      await cluster.stop();
    }
  } finally {
    await store.stop();
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
      // Nothing may leave an inbox for want of room: it would look like a loss.
      LONGLINE_ROUTER_INBOX_COUNT_MAX: '1000000',
      LONGLINE_ROUTER_INBOX_BYTES_MAX: `${256 * 1024 * 1024}`,
    },
    onOutput: (name, line) => {
      const { text, isAlarming } = readLogLine(line);
      if (isAlarming && options.isVerbose) options.say(`${name}: ${text}`);
    },
  });
}

async function drill(
  options: DrillOptions,
  cluster: LocalCluster,
  store: Store,
): Promise<DrillResult> {
  const { say, signal } = options;
  const random = seeded(options.seed);
  const history = newHistory();
  const routers = cluster.namesOf('router');
  const shape = shapeOf(options);
  const schedule = planFaults(shape);
  const backend = new Backend({
    routers: routers.map((name) => cluster.grpcAddress(name)),
    history,
    random,
    acceptLevels: store.acceptLevels,
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
    signal,
    flood: (clientId) => {
      for (let i = 0; i < FLOOD_PUSHES; i++) backend.push(clientId, true, FLOOD_BYTES);
    },
  });
  const nemesis = new Nemesis({
    cluster,
    store,
    fleet,
    backend,
    history,
    patienceMs: options.patienceMs,
    signal,
    say,
  });
  let pushing: NodeJS.Timeout | undefined;
  try {
    await fleet.connect(CONNECTING_MS);
    if (!(await until(() => fleet.openCount === options.clients, READY_MS_MAX, signal))) {
      throw new Failure(`only ${fleet.openCount} of ${options.clients} devices could connect`);
    }
    say(`${options.clients} devices are connected; breaking ${schedule.length} things`);
    pushing = pushSteadily(options, shape.devicesBusy, backend, fleet);
    const pushingOn = sleep(options.seconds * 1000, undefined, { signal });
    // Also when it is told to stop, the nemesis first puts down what it has in hand.
    const [broken] = await Promise.allSettled([nemesis.run(schedule), pushingOn]);
    if (broken.status === 'rejected') throw broken.reason;
    signal.throwIfAborted();
    const ending = new Ending(options, cluster, fleet, backend, history);
    await ending.heal();
    await sleep(options.calmMs, undefined, { signal });
    clearInterval(pushing);
    await ending.drain();
    backend.close();
    fleet.stop();
    const { stuck } = ending;
    return { options, schedule, faults: nemesis.counts, history, findings: check(history), stuck };
  } finally {
    clearInterval(pushing);
    nemesis.thaw();
    backend.close();
    fleet.stop();
  }
}

function shapeOf(options: DrillOptions): ScheduleShape {
  return {
    seed: options.seed,
    durationMs: options.seconds * 1000,
    edges: EDGES,
    routers: ROUTERS,
    devices: options.clients,
    devicesBusy: Math.max(1, Math.floor(options.clients * BUSY_PART)),
    leaseMs: LEASE_MS,
    kinds: options.kinds,
  };
}

/** Until the timer that it returns is cleared. */
function pushSteadily(
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
      backend.push(pick(random, among).clientId, random() >= LIVE_PART, bytes);
    }
  }, PUSH_TICK_MS);
}
