/**
 * Moves of live connections: 20,000 clients on four edges receive durable and live-only pushes
 * without a pause. A fifth edge joins; then one of the first four gets SIGTERM, drains and exits;
 * then it joins again, and the leading control is killed in the middle of that: its successor has
 * to finish the rebalancing without an operator.
 *
 *   lostDurable         accepted pushes that did not arrive; `violations` has everything else that
 *                       the checker of `longline drill` finds, such as wrong order and duplicates
 *   lostLive            live-only pushes that did not arrive, whichever verdict they got
 *   maxOverMean         after each step: connections of the fullest edge over the mean
 *   movedOverIdeal      connections opened in a step over those that had to move
 *   secondsToBalance    per step
 *   pushP99MsIdle, …Moving, …ByStep     from the call of Push to its answer; …Starting while the
 *                                       process of an edge starts
 *   rolling             duration of the rolling restart, connections opened per client, and push
 *                       p99
 *
 * With `--rolling` every edge is then drained, stopped and started again, one after the other,
 * which takes some five minutes more. `--clients`, `--pushes` (per second) and `--timeout` (seconds
 * after which a step ends although the edges are not balanced) make it smaller, `--json` prints one
 * line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { controlApi } from '../cli/control/api.js';
import type { LocalCluster } from '../cli/local/cluster.js';
import type { ClientsResult, ToClients } from './rebalance/clients-process.js';
import { withCluster } from './support/cluster/bench-cluster.js';
import { readMetrics } from './support/cluster/metrics.js';
import { WorkerProcesses } from './support/devices/worker-processes.js';
import { flag, number, parseOptions } from './support/options.js';
import { progress, report } from './support/report.js';
import { rounded, sum } from './support/statistics.js';

const EDGES = 4;
const PROCESSES = 2;
/** In MB. Their history grows, and a full garbage collection of it stops them. */
const CLIENTS_HEAP = ['--initial-old-space-size=2048'];
const IDLE_MS = 15_000;
const STEP_DEADLINE_MS = 240_000;
const POLL_MS = 500;
/** A step ends when the edges have been balanced, without a move, for this long. */
const STABLE_MS = 4_000;
const MAX_OVER_MEAN = 1.05;
const STEPS = ['join', 'drain', 'leader'] as const;

interface Balanced {
  readonly seconds: number;
  readonly maxOverMean: number;
}

type Steps = Readonly<Record<(typeof STEPS)[number], Balanced>>;

const { json, clients, pushes, timeout, rolling } = parseOptions({
  clients: number(20_000),
  pushes: number(500),
  // Control looks for an imbalance every 30 s.
  timeout: number(100),
  rolling: flag(),
});
const module = new URL('rebalance/clients-process.js', import.meta.url);
const workers = new WorkerProcesses<ToClients>({
  count: PROCESSES,
  module,
  execArgv: CLIENTS_HEAP,
});
const env = { LONGLINE_EDGE_DRAIN_MS: `${STEP_DEADLINE_MS}` };
try {
  report(json, await withCluster({ edges: EDGES, controls: 2, env }, measure));
} finally {
  workers.stop();
}

async function measure(cluster: LocalCluster) {
  await connectClients(cluster);
  await beginPhase('convergence');
  await untilBalanced(cluster, EDGES);
  await beginPhase('idle');
  await sleep(IDLE_MS);

  await beginPhase('joinStart');
  progress('a fifth edge joins');
  await cluster.addEdge();
  await untilMoving(cluster);
  await beginPhase('join');
  const join = await untilBalanced(cluster, EDGES + 1);

  await beginPhase('drain');
  progress('edge-2 gets SIGTERM');
  const fromMs = performance.now();
  await cluster.kill('edge-2', 'SIGTERM');
  const exitSeconds = (performance.now() - fromMs) / 1_000;
  const drain = await untilBalanced(cluster, EDGES);

  await beginPhase('leaderStart');
  progress('edge-2 joins again, and the leading control is killed during the rebalancing');
  await cluster.startAgain('edge-2');
  await untilMoving(cluster);
  await beginPhase('leader');
  await cluster.kill(await leaderOf(cluster));
  await until(async () => (await leaderOf(cluster)) !== '');
  const leader = await untilBalanced(cluster, EDGES + 1);

  const rollingSeconds = rolling ? await restartAll(cluster) : undefined;
  await untilConnected();
  const results = await workers.callAll<ClientsResult>(() => ({ type: 'finish' }));
  for (const { details } of results) for (const line of details) progress(line);
  return summarize(results, { join, drain, leader }, exitSeconds, rollingSeconds);
}

async function connectClients(cluster: LocalCluster): Promise<void> {
  const part = Math.ceil(clients / PROCESSES);
  await workers.callAll((i) => ({
    type: 'connect',
    prefix: `client-${i}`,
    clients: Math.min(part, clients - i * part),
    pushesPerSecond: pushes / PROCESSES,
    routerUrl: cluster.routerUrl,
    routerAddress: cluster.routerAddress,
    edgeUrls: cluster.namesOf('edge').map((name) => cluster.edgeUrl(name)),
  }));
  await untilConnected();
}

async function beginPhase(name: string): Promise<void> {
  await workers.callAll(() => ({ type: 'phase', name }));
}

/** Returns the duration in seconds. */
async function restartAll(cluster: LocalCluster): Promise<number> {
  await beginPhase('rolling');
  const fromMs = performance.now();
  for (const name of cluster.namesOf('edge')) {
    progress(`${name} gets SIGTERM and is started again`);
    await cluster.kill(name, 'SIGTERM');
    await cluster.startAgain(name);
    await untilStable(cluster, EDGES + 1, Number.POSITIVE_INFINITY);
  }
  return (performance.now() - fromMs) / 1_000;
}

function summarize(
  results: readonly ClientsResult[],
  steps: Steps,
  exitSeconds: number,
  rollingSeconds: number | undefined,
) {
  const violations: Record<string, number> = {};
  for (const { findings } of results) {
    for (const [name, count] of Object.entries(findings)) {
      violations[name] = (violations[name] ?? 0) + count;
    }
  }
  const phase = (name: string) => results.map(({ phases }) => phases[name]!);
  const connects = (name: string) => sum(phase(name).map((part) => part.connects));
  const p99 = (name: string) => Math.max(...phase(name).map((part) => part.verdictP99Ms));
  const receivedP99 = (name: string) => Math.max(...phase(name).map((part) => part.receivedP99Ms));
  // The share of one of five edges.
  const ideal = clients / (EDGES + 1);
  const byStep = (figure: (name: keyof Steps) => number) =>
    Object.fromEntries(STEPS.map((name) => [name, figure(name)]));
  return {
    lostDurable: violations.lost ?? 0,
    violations,
    lostLive: sum(results.map(({ lostLive }) => lostLive)),
    pushes: sum(results.map((result) => result.pushes)),
    maxOverMean: Math.max(...STEPS.map((name) => steps[name].maxOverMean)),
    maxOverMeanByStep: byStep((name) => steps[name].maxOverMean),
    movedOverIdeal: byStep((name) => rounded(connects(name) / ideal, 3)),
    secondsToBalance: byStep((name) => steps[name].seconds),
    drainExitSeconds: rounded(exitSeconds, 1),
    rolling: rollingSeconds && {
      seconds: rounded(rollingSeconds, 1),
      connectsPerClient: rounded(connects('rolling') / clients, 3),
      pushP99Ms: p99('rolling'),
    },
    pushP99MsIdle: p99('idle'),
    pushP99MsStarting: Math.max(p99('joinStart'), p99('leaderStart')),
    pushP99MsMoving: Math.max(...STEPS.map(p99)),
    pushP99MsByStep: byStep(p99),
    receivedP99MsIdle: receivedP99('idle'),
    receivedP99MsMoving: Math.max(...STEPS.map(receivedP99)),
    clients,
    pushesPerSecond: pushes,
  };
}

function untilMoving(cluster: LocalCluster): Promise<void> {
  return until(async () => {
    const { inFlight } = await controlApi(cluster.controlUrl).moves();
    return inFlight.length > 0;
  });
}

async function untilBalanced(cluster: LocalCluster, edges: number): Promise<Balanced> {
  const balanced = await untilStable(cluster, edges, MAX_OVER_MEAN);
  progress(`balanced after ${balanced.seconds} s, max/mean ${balanced.maxOverMean}`);
  return balanced;
}

/**
 * Resolves when nothing moves, all clients are connected, and no edge has more than
 * `maxOverMeanMax` times the mean; after `--timeout` the last condition no longer applies.
 */
async function untilStable(
  cluster: LocalCluster,
  edges: number,
  maxOverMeanMax: number,
): Promise<Balanced> {
  const fromMs = performance.now();
  let stableSinceMs: number | undefined;
  let maxOverMean = 0;
  await until(async () => {
    const { inFlight, pending } = await controlApi(cluster.controlUrl).moves();
    const counts = await connectionsOf(cluster);
    maxOverMean = rounded(Math.max(...counts) / (clients / edges), 3);
    const isLate = performance.now() - fromMs > timeout * 1_000;
    const isBalanced = maxOverMean <= maxOverMeanMax || isLate;
    const areConnected = counts.length === edges && sum(counts) === clients;
    const isStable = inFlight.length + pending === 0 && areConnected && isBalanced;
    stableSinceMs = isStable ? (stableSinceMs ?? performance.now()) : undefined;
    return stableSinceMs !== undefined && performance.now() - stableSinceMs >= STABLE_MS;
  });
  const seconds = rounded((performance.now() - fromMs - STABLE_MS) / 1_000, 1);
  return { seconds, maxOverMean };
}

/** Connections of each living edge that owns shards. */
async function connectionsOf(cluster: LocalCluster): Promise<number[]> {
  const edges = await controlApi(cluster.controlUrl).edges();
  return edges
    .filter((edge) => edge.state === 'alive' && edge.shardsOwned > 0)
    .map((edge) => edge.connections ?? 0);
}

async function leaderOf(cluster: LocalCluster): Promise<string> {
  for (const name of cluster.namesOf('control')) {
    if (cluster.pid(name) === undefined) continue;
    const metric = await readMetrics(cluster.httpUrl(name));
    if (metric('longline_control_leader') === 1) return name;
  }
  throw new Error('no control leads');
}

async function untilConnected(): Promise<void> {
  await until(async () => sum(await workers.callAll(() => ({ type: 'count' }))) === clients);
}

/** An error of `isDone` counts as not done: requests to control fail during its failover. */
async function until(isDone: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + STEP_DEADLINE_MS;
  while (!(await isDone().catch(() => false))) {
    if (performance.now() > deadline) throw new Error(`not done after ${STEP_DEADLINE_MS} ms`);
    await sleep(POLL_MS);
  }
}
