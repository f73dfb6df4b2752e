/**
 * Fuzzes the device port of a real edge and the front of a real router: they must not crash or log
 * warnings, must release their resources, and must keep serving well-behaved devices.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { residentBytes } from '../../../bench/support/memory/process-memory.js';
import { readLogLine } from '../../../cli/local/log-line.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { seededRandom } from '../../sim/random.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { eventually } from '../../support/eventually.js';
import { SECRET } from '../../support/tokens.js';
import { loadCorpus, saveInput } from '../corpus.js';
import { targets } from '../targets/targets.js';
import { Attackers } from './attackers.js';
import { HealthyDevices } from './healthy.js';
import { connectDevices } from './healthy-device.js';
import { sessions } from './sessions.js';

export interface ConnectionResult {
  readonly sessions: number;
  readonly pushes: number;
  readonly slowestPushMs: number;
  readonly failures: readonly string[];
}

const EDGE = 'edge-1';
const ROUTER = 'router';
/** Processes that devices can reach. */
const TARGETS = [EDGE, ROUTER];
const CORPUS = 'connections';
const BACKEND_TOKEN = 'backend-token-0123456789';
const HEAD_TIMEOUT_MS = 1_000;
/** The edge checks the timeout once per second. */
const CLOSE_TIMEOUT_MS = HEAD_TIMEOUT_MS + 2_000;
/**
 * Maximum growth between a fifth of a run and its end. Descriptors: for the HTTP requests of the
 * test.
 */
const DESCRIPTORS_GROWTH_MAX = 2;
/** After a garbage collection. */
const HEAP_GROWTH_BYTES_MAX = 8 * 1024 * 1024;
const RESIDENT_GROWTH_BYTES_MAX = 32 * 1024 * 1024;
const RELEASE_DEADLINE_MS = 30_000;

/** Resources of one process. */
interface Usage {
  readonly descriptors: number;
  readonly heapBytes: number;
  readonly residentBytes: number;
}

export async function fuzzConnections(seed: number, seconds: number): Promise<ConnectionResult> {
  const failures: string[] = [];
  const collector = pathToFileURL(
    join(packageRoot, 'dist/bench/support/memory/collect-on-signal.js'),
  ).href;
  let isEnding = false;
  const running = await RunningCluster.start({
    edges: 1,
    token: BACKEND_TOKEN,
    env: {
      LONGLINE_AUTH: 'jwt',
      LONGLINE_JWT_ALGORITHMS: 'HS256',
      LONGLINE_JWT_KEYS: SECRET,
      LONGLINE_TICKET_SECRET: SECRET.toUpperCase(),
      LONGLINE_LINK_TOKEN: 'link-token-0123456789',
      LONGLINE_BACKEND_TOKENS: `backend:push+presence:${BACKEND_TOKEN}`,
      NODE_OPTIONS: `--import=${collector}`,
      LONGLINE_EDGE_HEAD_TIMEOUT_MS: `${HEAD_TIMEOUT_MS}`,
      LONGLINE_ROUTER_FRONT_HEAD_TIMEOUT_MS: `${HEAD_TIMEOUT_MS}`,
      LONGLINE_PROXY_NETWORKS: '127.0.0.1/32',
    },
    onOutput: (name, line) => {
      const { text, isAlarming } = readLogLine(line);
      if (TARGETS.includes(name) && isAlarming && !isEnding) failures.push(`${name} logs: ${text}`);
    },
  });
  const portOf = (url: string) => Number(new URL(url).port);
  const frontPort = portOf(running.cluster.frontUrl());
  const attackers = new Attackers({
    ports: [portOf(running.cluster.edgeUrl(EDGE)), frontPort],
    sessions,
    corpus: loadCorpus(CORPUS),
    dictionary: targets.flatMap(({ dictionary }) => dictionary),
    random: seededRandom(seed),
    closeTimeoutMs: CLOSE_TIMEOUT_MS,
  });
  let healthy: HealthyDevices | undefined;
  try {
    healthy = new HealthyDevices(await connectDevices(running, frontPort), running.push);
    await healthy.untilConnected();
    let isStopped = false;
    const pushing = healthy
      .push(() => isStopped)
      .catch((error) => {
        failures.push(`a push failed: ${error}`);
      });
    const attacking = attack(running, attackers, healthy.devices.length, seconds);
    failures.push(
      ...(await attacking.catch((error) => [describeFailure(running, attackers, seed, error)])),
    );
    isStopped = true;
    await pushing;
    failures.push(...(await healthy.failures()));
  } catch (error) {
    failures.push(`well-behaved devices are not served: ${error}`);
  } finally {
    isEnding = true;
    await healthy?.close();
    await running.stop();
  }
  return {
    sessions: attackers.played,
    pushes: healthy?.pushes ?? 0,
    slowestPushMs: Math.round(healthy?.slowestMs ?? 0),
    failures,
  };
}

/** Returns the resources that were not released. */
async function attack(
  running: RunningCluster,
  attackers: Attackers,
  healthy: number,
  seconds: number,
): Promise<string[]> {
  const measure = async () => {
    await untilDisconnected(running, healthy);
    return Promise.all(TARGETS.map((name) => usageOf(running, name)));
  };
  await attackers.run(seconds / 5);
  const before = await measure();
  await attackers.run((seconds * 4) / 5);
  let failures: string[] = [];
  // Freed memory returns to the system late; leaked memory never does.
  await eventually(async () => {
    const after = await measure();
    failures = TARGETS.flatMap((name, i) => compare(name, before[i]!, after[i]!));
    return failures.length === 0;
  }, RELEASE_DEADLINE_MS).catch((error) => {
    if (failures.length === 0) throw error;
  });
  return failures;
}

function compare(name: string, before: Usage, after: Usage): string[] {
  const bounds: [keyof Usage, number][] = [
    ['descriptors', DESCRIPTORS_GROWTH_MAX],
    ['heapBytes', HEAP_GROWTH_BYTES_MAX],
    ['residentBytes', RESIDENT_GROWTH_BYTES_MAX],
  ];
  return bounds
    .filter(([resource, growthMax]) => after[resource] - before[resource] > growthMax)
    .map(([resource]) => `${name} leaks ${resource}: ${before[resource]}, then ${after[resource]}`);
}

/** Resolves when only the healthy devices are connected. */
async function untilDisconnected(running: RunningCluster, healthy: number): Promise<void> {
  await eventually(
    async () => (await running.metric(EDGE, 'longline_edge_connections')) === healthy,
    RELEASE_DEADLINE_MS,
  );
}

async function usageOf(running: RunningCluster, name: string): Promise<Usage> {
  const pid = running.cluster.pid(name);
  if (pid === undefined) throw new Error(`${name} has exited`);
  process.kill(pid, 'SIGUSR2');
  await sleep(1_000);
  const space = (space: string) =>
    running.metric(name, 'nodejs_heap_space_size_used_bytes', { space });
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    heapBytes: (await space('old')) + (await space('large_object')),
    residentBytes: residentBytes(pid),
  };
}

/** Saves the sessions in progress: if a process has exited, one of them is the cause. */
function describeFailure(
  running: RunningCluster,
  attackers: Attackers,
  seed: number,
  error: unknown,
): string {
  const exited = TARGETS.filter((name) => running.cluster.pid(name) === undefined);
  const message = exited.length > 0 ? `${exited.join()} exited` : `connections remain: ${error}`;
  const paths = [...attackers.inProgress].map((flights) =>
    saveInput(CORPUS, 'failing', Buffer.concat(flights), `${message}, seed ${seed}`),
  );
  return [message, ...paths].join(', ');
}
