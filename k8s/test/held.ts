/**
 * Devices held through everything that is done to an installed cluster on a running one: edges,
 * routers and controls are upgraded, edges are scaled. Devices reach edges from outside the pods'
 * network, each by its own NodePort.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientsResult, PhaseResult } from '../../bench/rebalance/clients-process.js';
import { packageRoot } from '../../common/process/package-root.js';
import { CHART, makeNamespace } from './chart-checks.js';
import { run } from './command.js';
import { startDaemon } from './daemon.js';
import { Devices } from './devices.js';
import { helm, kubectl } from './kubectl.js';
import { DOMAIN, MACHINE_ADDRESS, NODES, RUN } from './layout.js';
import { until } from './until.js';

const NAMESPACE = 'held';
const HERE = `--namespace=${NAMESPACE}`;
const RELEASE = 'longline';
const VALUES = `--values=${join(packageRoot, 'k8s/test/held-values.yaml')}`;
const WAIT = ['--wait', '--timeout=15m'];
const REDIS_PORT = 6379;
const IDLE_MS = 10_000;
const REPLACED_MS_MAX = 60_000;
const DRAINED = NODES[1]!.name;

export interface HeldResult {
  /** Accepted pushes that did not arrive, as the checker of `longline drill` judges. */
  readonly lostDurable: number;
  /** Every violation, by check. */
  readonly violations: Readonly<Record<string, number>>;
  readonly lostLive: number;
  readonly devices: number;
  readonly pushes: number;
  readonly phases: Readonly<Record<string, PhaseOfAll>>;
}

interface PhaseOfAll {
  readonly seconds: number;
  readonly pushes: number;
  /** Connections that were opened. */
  readonly connects: number;
  readonly verdictP99Ms: number;
}

export async function holdDevices(
  { devices: count, pushesPerSecond }: { devices: number; pushesPerSecond: number },
  say: (line: string) => void,
): Promise<HeldResult> {
  await startRedis();
  await makeNamespace(NAMESPACE, 'restricted');
  say('helm install: until every pod is ready');
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
  const phase = async (name: string, says: string, work: () => Promise<unknown>) => {
    say(says);
    const fromMs = performance.now();
    await devices.begin(name);
    await work();
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

  await phase('idle', 'nothing happens', () => sleep(IDLE_MS));
  await phase('upgradeEdges', 'helm upgrade of edges, one after the other', () =>
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
  await phase('scaleDown', 'kubectl scale: one edge less', async () => {
    await kubectl('scale', 'statefulset', `${RELEASE}-edge`, HERE, '--replicas=2');
    await kubectl('wait', 'pod', `${RELEASE}-edge-2`, HERE, '--for=delete', '--timeout=5m');
  });
  await phase('scaleUp', 'kubectl scale: one edge more', async () => {
    await kubectl('scale', 'statefulset', `${RELEASE}-edge`, HERE, '--replicas=3');
    await kubectl('rollout', 'status', `statefulset/${RELEASE}-edge`, HERE, '--timeout=5m');
  });
  await phase('killEdge', 'an edge is killed', async () => {
    const killed = `${RELEASE}-edge-0`;
    const before = await uidOf(killed);
    await kubectl('delete', 'pod', killed, HERE, '--grace-period=0', '--force');
    await until(`${killed} is there again`, REPLACED_MS_MAX, async () => {
      return (await uidOf(killed)) !== before;
    });
    await kubectl('wait', 'pod', killed, HERE, '--for=condition=Ready', '--timeout=5m');
  });
  await phase('rollBack', 'helm rollback to what was installed', () =>
    helm('rollback', RELEASE, '1', HERE, ...WAIT),
  );
  const results = await devices.finish();
  await helm('uninstall', RELEASE, HERE, ...WAIT);
  return summarise(results, seconds, count);
}

function uidOf(pod: string): Promise<string> {
  return kubectl('get', 'pod', pod, HERE, '--output=jsonpath={.metadata.uid}');
}

/** Outside of Kubernetes, as the Redis of most who have one. */
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
): HeldResult {
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
    const phase: PhaseOfAll = {
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
