/**
 * Live connections on the move: 20,000 clients on four edges, pushed to without a pause, durable and
 * live only. A fifth edge joins; then one of the first is told to end, drains and exits; then it
 * joins again, the leading control is killed in the middle of that, and whoever leads next has to
 * finish it without being asked.
 *
 *   lostDurable         accepted pushes that did not arrive, arrived out of order, or doubled without
 *                       a reason, as the checker of `longline drill` judges
 *   lostLive            live-only pushes that did not arrive, whatever was said of them
 *   maxOverMean         after each step: most connections of an edge over the mean
 *   movedOverIdeal      connections opened in a step over those that had to move
 *   secondsToBalance    per step
 *   pushP99MsIdle, …Moving, …ByStep     from the call of Push to its answer; while an edge's process
 *                                       starts: …Starting
 *
 *   rolling             of that: how long it took, connections opened per client, and the answers
 *
 * With `--rolling` every edge is then drained, ended and started again, one after the other, which
 * takes some five minutes more. `--clients`, `--pushes` (a second) and `--patience` (seconds until a
 * step that is not even ends all the same) make it smaller, `--json` prints one line.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { controlApi } from '../cli/control/api.js';
import { LocalCluster } from '../cli/local/cluster.js';
import { startRedis } from '../cli/local/redis.js';
import type { ClientsResult, ToClients } from './rebalance/clients-process.js';
import { rounded } from './support/statistics.js';

const EDGES = 4;
const PROCESSES = 2;
/** In MB. They hold a history that grows, and time stands still for them while all of it is collected. */
const HEAP_OF_CLIENTS = ['--initial-old-space-size=2048'];
const READY_DEADLINE_MS = 60_000;
const IDLE_MS = 15_000;
const STEP_DEADLINE_MS = 240_000;
const POLL_MS = 500;
/** Balanced, and nothing on its way, for so long. */
const CALM_MS = 4_000;
const MAX_OVER_MEAN = 1.05;

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    clients: { type: 'string', default: '20000' },
    pushes: { type: 'string', default: '500' },
    patience: { type: 'string', default: '100' },
    rolling: { type: 'boolean' },
  },
});
const clients = Number(values.clients);
const pushesPerSecond = Number(values.pushes);
/** When it is not even by then, it is said as it is: control looks every 30 s. */
const balanceDeadlineMs = Number(values.patience) * 1_000;
const say = (line: string) => process.stderr.write(`${line}\n`);

const redis = await startRedis({ say });
let cluster: LocalCluster | undefined;
const children: ChildProcess[] = [];
try {
  cluster = await LocalCluster.start({
    redisUrl: redis.url,
    edges: EDGES,
    controls: 2,
    ports: 'free',
    restart: false,
    env: {
      LONGLINE_LOG_LEVEL: 'error',
      LONGLINE_EDGE_DRAIN_MS: `${STEP_DEADLINE_MS}`,
    },
    onOutput: (name, line) => say(`${name}: ${line}`),
  });
  await cluster.waitUntilReady(READY_DEADLINE_MS);
  const result = await measure(cluster);
  if (values.json) console.log(JSON.stringify(result));
  else console.log(result);
} finally {
  for (const child of children) child.kill();
  await cluster?.stop();
  await redis.stop();
}

async function measure(cluster: LocalCluster) {
  for (let i = 0; i < PROCESSES; i++) {
    const module = fileURLToPath(new URL('rebalance/clients-process.js', import.meta.url));
    children.push(fork(module, [], { execArgv: HEAP_OF_CLIENTS }));
  }
  const part = Math.ceil(clients / PROCESSES);
  await Promise.all(
    children.map((child, i) =>
      ask(child, {
        type: 'connect',
        prefix: `client-${i}`,
        clients: Math.min(part, clients - i * part),
        pushesPerSecond: pushesPerSecond / PROCESSES,
        routerUrl: cluster.routerUrl,
        routerAddress: cluster.routerAddress,
        edgeUrls: cluster.namesOf('edge').map((name) => cluster.edgeUrl(name)),
      }),
    ),
  );
  await untilConnected();
  await askAll({ type: 'phase', name: 'convergence' });
  const settled = await untilBalanced(cluster, EDGES);
  await askAll({ type: 'phase', name: 'idle' });
  await sleep(IDLE_MS);

  await askAll({ type: 'phase', name: 'joinStart' });
  say('a fifth edge joins');
  await cluster.addEdge();
  await untilMoving(cluster);
  await askAll({ type: 'phase', name: 'join' });
  const join = await untilBalanced(cluster, EDGES + 1);

  await askAll({ type: 'phase', name: 'drain' });
  say('edge-2 is told to end');
  const fromMs = performance.now();
  await cluster.kill('edge-2', 'SIGTERM');
  const exitSeconds = (performance.now() - fromMs) / 1_000;
  const drain = await untilBalanced(cluster, EDGES);

  await askAll({ type: 'phase', name: 'leaderStart' });
  say('edge-2 joins again, and the leader is killed on the way');
  await cluster.startAgain('edge-2');
  await untilMoving(cluster);
  await askAll({ type: 'phase', name: 'leader' });
  await cluster.kill(await leaderOf(cluster));
  await until(async () => (await leaderOf(cluster)) !== '');
  const leader = await untilBalanced(cluster, EDGES + 1);

  const rollingSeconds = values.rolling ? await restartAll(cluster) : undefined;
  await untilConnected();
  const results = (await askAll({ type: 'finish' })) as ClientsResult[];
  for (const { details } of results) for (const line of details) say(line);
  return summarize(results, { settled, join, drain, leader }, exitSeconds, rollingSeconds);
}

/** Returns how long it took. */
async function restartAll(cluster: LocalCluster): Promise<number> {
  await askAll({ type: 'phase', name: 'rolling' });
  const fromMs = performance.now();
  for (const name of cluster.namesOf('edge')) {
    say(`${name} is told to end, and starts again`);
    await cluster.kill(name, 'SIGTERM');
    await cluster.startAgain(name);
    await untilCalm(cluster, EDGES + 1);
  }
  return (performance.now() - fromMs) / 1_000;
}

interface Balanced {
  readonly seconds: number;
  readonly maxOverMean: number;
}

function summarize(
  results: readonly ClientsResult[],
  steps: Readonly<Record<'settled' | 'join' | 'drain' | 'leader', Balanced>>,
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
  const connects = (name: string) => phase(name).reduce((sum, one) => sum + one.connects, 0);
  const p99 = (name: string) => Math.max(...phase(name).map((one) => one.verdictP99Ms));
  const receivedP99 = (name: string) => Math.max(...phase(name).map((one) => one.receivedP99Ms));
  // A fifth of all: what an edge of five has.
  const ideal = clients / (EDGES + 1);
  const moving = ['join', 'drain', 'leader'] as const;
  const over = (of: (name: (typeof moving)[number]) => number) =>
    Object.fromEntries(moving.map((name) => [name, of(name)]));
  return {
    lostDurable: violations.lost ?? 0,
    violations,
    lostLive: results.reduce((sum, result) => sum + result.lostLive, 0),
    pushes: results.reduce((sum, result) => sum + result.pushes, 0),
    maxOverMean: Math.max(...moving.map((name) => steps[name].maxOverMean)),
    maxOverMeanByStep: over((name) => steps[name].maxOverMean),
    movedOverIdeal: over((name) => rounded(connects(name) / ideal, 3)),
    secondsToBalance: over((name) => steps[name].seconds),
    drainExitSeconds: rounded(exitSeconds, 1),
    rolling: rollingSeconds && {
      seconds: rounded(rollingSeconds, 1),
      connectsPerClient: rounded(connects('rolling') / clients, 3),
      pushP99Ms: p99('rolling'),
    },
    pushP99MsIdle: p99('idle'),
    pushP99MsStarting: Math.max(p99('joinStart'), p99('leaderStart')),
    pushP99MsMoving: Math.max(...moving.map(p99)),
    pushP99MsByStep: over(p99),
    receivedP99MsIdle: receivedP99('idle'),
    receivedP99MsMoving: Math.max(...moving.map(receivedP99)),
    clients,
    pushesPerSecond,
  };
}

function untilMoving(cluster: LocalCluster): Promise<void> {
  return until(async () => (await movesOf(cluster)).inFlight > 0);
}

/** Until nothing moves and everybody is connected. */
function untilCalm(cluster: LocalCluster, edges: number): Promise<Balanced> {
  return untilEven(cluster, edges, Number.POSITIVE_INFINITY);
}

async function untilBalanced(cluster: LocalCluster, edges: number): Promise<Balanced> {
  const balanced = await untilEven(cluster, edges, MAX_OVER_MEAN);
  say(`balanced after ${balanced.seconds} s, max/mean ${balanced.maxOverMean}`);
  return balanced;
}

async function untilEven(
  cluster: LocalCluster,
  edges: number,
  maxOverMeanMax: number,
): Promise<Balanced> {
  const fromMs = performance.now();
  let calmSinceMs: number | undefined;
  let maxOverMean = 0;
  await until(async () => {
    const { inFlight, waiting } = await movesOf(cluster);
    const counts = await connectionsOf(cluster);
    const held = counts.reduce((sum, count) => sum + count, 0);
    maxOverMean = rounded(Math.max(...counts) / (clients / edges), 3);
    const isLate = performance.now() - fromMs > balanceDeadlineMs;
    const isEven = maxOverMean <= maxOverMeanMax || isLate;
    const isCalm = inFlight + waiting === 0 && counts.length === edges && held === clients;
    if (!isCalm || !isEven) calmSinceMs = undefined;
    else calmSinceMs ??= performance.now();
    return calmSinceMs !== undefined && performance.now() - calmSinceMs >= CALM_MS;
  });
  const seconds = rounded((performance.now() - fromMs - CALM_MS) / 1_000, 1);
  return { seconds, maxOverMean };
}

async function connectionsOf(cluster: LocalCluster): Promise<number[]> {
  const edges = await controlApi(cluster.controlUrl).edges();
  return edges
    .filter((edge) => edge.state === 'alive' && edge.shardsOwned > 0)
    .map((edge) => edge.connections ?? 0);
}

async function movesOf(cluster: LocalCluster): Promise<{ inFlight: number; waiting: number }> {
  const answer = await fetch(`${cluster.controlUrl}/v1/moves`);
  const { inFlight, waiting } = (await answer.json()) as { inFlight: unknown[]; waiting: number };
  return { inFlight: inFlight.length, waiting };
}

async function leaderOf(cluster: LocalCluster): Promise<string> {
  for (const name of cluster.namesOf('control')) {
    if (cluster.pid(name) === undefined) continue;
    const metrics = await (await fetch(`${cluster.httpUrl(name)}/metrics`)).text();
    if (/^longline_control_leader 1$/m.test(metrics)) return name;
  }
  throw new Error('no control leads');
}

async function untilConnected(): Promise<void> {
  await until(async () => {
    const counts = (await askAll({ type: 'count' })) as number[];
    return counts.reduce((sum, count) => sum + count, 0) === clients;
  });
}

/** While a control takes over, questions to it fail. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + STEP_DEADLINE_MS;
  while (!(await isSo().catch(() => false))) {
    if (performance.now() > deadline) throw new Error('it took too long');
    await sleep(POLL_MS);
  }
}

function askAll(message: ToClients): Promise<unknown[]> {
  return Promise.all(children.map((child) => ask(child, message)));
}

async function ask(child: ChildProcess, message: ToClients): Promise<unknown> {
  const answered = once(child, 'message');
  child.send(message);
  return (await answered)[0];
}
