/**
 * Keeps devices connected and pushes to them while the release is upgraded, scaled, drained and
 * rolled back and an edge is killed. Devices reach each edge from outside the pod network by its
 * NodePort.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientsResult, PhaseResult } from '../../../bench/rebalance/clients-process.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { startDaemon } from '../cluster/daemon.js';
import { DOMAIN, MACHINE_ADDRESS, NODES, RUN } from '../cluster/layout.js';
import { run } from '../command.js';
import { helm, kubectl } from '../kubectl.js';
import { until } from '../until.js';
import { CHART, makeNamespace } from './chart-checks.js';
import { Devices } from './devices.js';

const NAMESPACE = 'operations';
const HERE = `--namespace=${NAMESPACE}`;
const RELEASE = 'longline';
const VALUES = `--values=${join(packageRoot, 'k8s/test/checks/operations-values.yaml')}`;
const WAIT = ['--wait', '--timeout=15m'];
const REDIS_PORT = 6379;
const IDLE_MS = 10_000;
const REPLACED_MS_MAX = 60_000;
const DRAINED = NODES[1]!.name;

export interface OperationsResult {
  /** Accepted pushes that did not arrive, according to the checker of `longline drill`. */
  readonly lostDurable: number;
  /** Number of violations by check. */
  readonly violations: Readonly<Record<string, number>>;
  readonly lostLive: number;
  readonly devices: number;
  readonly pushes: number;
  readonly phases: Readonly<Record<string, PhaseTotals>>;
}

/** A phase over all processes with devices. */
interface PhaseTotals {
  readonly seconds: number;
  readonly pushes: number;
  /** Connections opened during the phase. */
  readonly connects: number;
  readonly verdictP99Ms: number;
}

export async function checkOperations(
  { devices: count, pushesPerSecond }: { devices: number; pushesPerSecond: number },
  say: (line: string) => void,
): Promise<OperationsResult> {
  await startRedis();
  await makeNamespace(NAMESPACE, 'restricted');
  say('helm install, waiting until every pod is ready');
  await helm('install', RELEASE, CHART, HERE, VALUES, ...WAIT);
  say('helm test');
  await helm('test', RELEASE, HERE);

  const devices = await Devices.connect({
    ...{ count, pushesPerSecond },
    routerUrl: `http://${RELEASE}-router.${NAMESPACE}.svc.${DOMAIN}:7100`,
    routerAddress: `${RELEASE}-push.${NAMESPACE}.svc.${DOMAIN}:7101`,
  });
  say(`${count} devices are connected`);
  const seconds: Record<string, number> = {};
  const phase = async (name: string, title: string, operation: () => Promise<unknown>) => {
    say(title);
    const fromMs = performance.now();
    await devices.beginPhase(name);
    await operation();
    await devices.untilConnected();
    seconds[name] = Math.round((performance.now() - fromMs) / 1000);
  };
  const upgrade = (...changes: string[]) =>
    helm(
      'upgrade',
      RELEASE,
      CHART,
      HERE,
      VALUES,
      ...changes.map((c) => `--set-string=${c}`),
      ...WAIT,
    );

  await phase('idle', 'idle', () => sleep(IDLE_MS));
  await phase('upgradeEdges', 'helm upgrade of edges, one at a time', () =>
    upgrade('edge.podAnnotations.upgraded=yes'),
  );
  await phase('upgradeOthers', 'helm upgrade of routers and controls', () =>
    upgrade(
      ...['edge.podAnnotations.upgraded=yes', 'router.podAnnotations.upgraded=yes'],
      'control.podAnnotations.upgraded=yes',
    ),
  );
  await phase('drainNode', `kubectl drain ${DRAINED}`, async () => {
    await kubectl('drain', DRAINED, '--ignore-daemonsets', '--timeout=10m');
    await kubectl('uncordon', DRAINED);
    await kubectl('rollout', 'status', `statefulset/${RELEASE}-edge`, HERE, '--timeout=5m');
  });
  await phase('scaleDown', 'kubectl scale to 2 edges', async () => {
    await kubectl('scale', 'statefulset', `${RELEASE}-edge`, HERE, '--replicas=2');
    await kubectl('wait', 'pod', `${RELEASE}-edge-2`, HERE, '--for=delete', '--timeout=5m');
  });
  await phase('scaleUp', 'kubectl scale to 3 edges', async () => {
    await kubectl('scale', 'statefulset', `${RELEASE}-edge`, HERE, '--replicas=3');
    await kubectl('rollout', 'status', `statefulset/${RELEASE}-edge`, HERE, '--timeout=5m');
  });
  await phase('killEdge', 'kill an edge', async () => {
    const killed = `${RELEASE}-edge-0`;
    const before = await uidOf(killed);
    await kubectl('delete', 'pod', killed, HERE, '--grace-period=0', '--force');
    await until(`${killed} is replaced`, REPLACED_MS_MAX, async () => {
      return (await uidOf(killed)) !== before;
    });
    await kubectl('wait', 'pod', killed, HERE, '--for=condition=Ready', '--timeout=5m');
  });
  await phase('rollBack', 'helm rollback to revision 1', () =>
    helm('rollback', RELEASE, '1', HERE, ...WAIT),
  );
  const results = await devices.finish();
  await helm('uninstall', RELEASE, HERE, ...WAIT);
  return summarise(results, seconds, count);
}

function uidOf(pod: string): Promise<string> {
  return kubectl('get', 'pod', pod, HERE, '--output=jsonpath={.metadata.uid}');
}

/** Redis runs outside Kubernetes, as in most installations. */
async function startRedis(): Promise<void> {
  mkdirSync(`${RUN}/redis`);
  const at = ['--bind', MACHINE_ADDRESS, '--port', `${REDIS_PORT}`, '--protected-mode', 'no'];
  await startDaemon(
    'redis',
    ['redis-server', ...at, '--dir', `${RUN}/redis`, '--appendonly', 'yes'],
    async () => (await run('redis-cli', ['-h', MACHINE_ADDRESS, 'ping'])).startsWith('PONG'),
  );
}

function summarise(
  results: readonly ClientsResult[],
  seconds: Readonly<Record<string, number>>,
  devices: number,
): OperationsResult {
  const violations: Record<string, number> = {};
  for (const { findings } of results) {
    for (const [name, count] of Object.entries(findings)) {
      violations[name] = (violations[name] ?? 0) + count;
    }
  }
  const phases = Object.entries(seconds).map(([name, took]) => {
    const parts = results.map((result) => result.phases[name]!);
    const sum = (of: (part: PhaseResult) => number) =>
      parts.reduce((total, part) => total + of(part), 0);
    const phase: PhaseTotals = {
      seconds: took,
      pushes: sum((part) => part.pushes),
      connects: sum((part) => part.connects),
      verdictP99Ms: Math.max(...parts.map((part) => part.verdictP99Ms)),
    };
    return [name, phase] as const;
  });
  return {
    lostDurable: violations.lost ?? 0,
    violations,
    lostLive: results.reduce((sum, result) => sum + result.lostLive, 0),
    devices,
    pushes: results.reduce((sum, result) => sum + result.pushes, 0),
    phases: Object.fromEntries(phases),
  };
}
