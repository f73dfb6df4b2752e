/**
 * Fuzzes the device port of a real edge and the front of a real router in a cluster of their own: they
 * must not die or complain, must give back what they took, and must not let devices that behave feel
 * anything.
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
import { keep, loadCorpus } from '../corpus.js';
import { targets } from '../targets/targets.js';
import { Attackers } from './attackers.js';
import { Healthy } from './healthy.js';
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
/** Those that devices can reach. */
const TARGETS = [EDGE, ROUTER];
const CORPUS = 'connections';
const BACKEND_TOKEN = 'backend-token-0123456789';
const HEAD_TIMEOUT_MS = 1_000;
/** The deadline is looked at once a second. */
const PATIENCE_MS = HEAD_TIMEOUT_MS + 2_000;
/** Over a run, after the first fifth of it. Descriptors: of our own questions over HTTP. */
const DESCRIPTORS_GROWTH_MAX = 2;
/** Without garbage. */
const HEAP_GROWTH_BYTES_MAX = 8 * 1024 * 1024;
const RESIDENT_GROWTH_BYTES_MAX = 32 * 1024 * 1024;
const SETTLE_DEADLINE_MS = 30_000;

/** Of one process. */
interface Held {
  readonly descriptors: number;
  readonly heapBytes: number;
  readonly residentBytes: number;
}

export async function fuzzConnections(seed: number, seconds: number): Promise<ConnectionResult> {
  const failures: string[] = [];
  const collector = pathToFileURL(join(packageRoot, 'dist/bench/support/memory/collect-on-signal.js')).href;
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
      if (TARGETS.includes(name) && isAlarming && !isEnding) failures.push(`${name} says: ${text}`);
    },
  });
  const portOf = (url: string) => Number(new URL(url).port);
  const frontPort = portOf(running.cluster.frontUrl());
  const attackers = new Attackers({
    ports: [portOf(running.cluster.edgeUrl(EDGE)), frontPort],
    sessions,
    corpus: loadCorpus(CORPUS),
    words: targets.flatMap(({ words }) => words),
    random: seededRandom(seed),
    patienceMs: PATIENCE_MS,
  });
  let healthy: Healthy | undefined;
  try {
    healthy = new Healthy(await connectDevices(running, frontPort), running.push);
    await healthy.untilConnected();
    let isOver = false;
    const pushing = healthy
      .push(() => isOver)
      .catch((error) => {
        failures.push(`a push failed: ${error}`);
      });
    const attacking = attack(running, attackers, healthy.devices.length, seconds);
    failures.push(...(await attacking.catch((error) => [died(running, attackers, seed, error)])));
    isOver = true;
    await pushing;
    failures.push(...(await healthy.failures()));
  } catch (error) {
    failures.push(`devices that behave are not served: ${error}`);
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

/** Returns what was not given back. */
async function attack(
  running: RunningCluster,
  attackers: Attackers,
  healthy: number,
  seconds: number,
): Promise<string[]> {
  const allHeld = async () => {
    await untilAlone(running, healthy);
    return Promise.all(TARGETS.map((name) => held(running, name)));
  };
  await attackers.run(seconds / 5);
  const before = await allHeld();
  await attackers.run((seconds * 4) / 5);
  let failures: string[] = [];
  // What is freed is given back to the system late; what leaks never is.
  await eventually(async () => {
    const after = await allHeld();
    failures = TARGETS.flatMap((name, i) => compare(name, before[i]!, after[i]!));
    return failures.length === 0;
  }, SETTLE_DEADLINE_MS).catch((error) => {
    if (failures.length === 0) throw error;
  });
  return failures;
}

function compare(name: string, before: Held, after: Held): string[] {
  const bounds: [keyof Held, number][] = [
    ['descriptors', DESCRIPTORS_GROWTH_MAX],
    ['heapBytes', HEAP_GROWTH_BYTES_MAX],
    ['residentBytes', RESIDENT_GROWTH_BYTES_MAX],
  ];
  return bounds
    .filter(([what, growthMax]) => after[what] - before[what] > growthMax)
    .map(([what]) => `${name} has not given back: ${what} ${before[what]}, then ${after[what]}`);
}

/** Only those that behave are left. */
async function untilAlone(running: RunningCluster, healthy: number): Promise<void> {
  await eventually(
    async () => (await running.metric(EDGE, 'longline_edge_connections')) === healthy,
    SETTLE_DEADLINE_MS,
  );
}

async function held(running: RunningCluster, name: string): Promise<Held> {
  const pid = running.cluster.pid(name);
  if (pid === undefined) throw new Error(`${name} is not there any more`);
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

/** Keeps what was being said: if something has died, it is of one of these. */
function died(running: RunningCluster, attackers: Attackers, seed: number, error: unknown): string {
  const dead = TARGETS.filter((name) => running.cluster.pid(name) === undefined);
  const why = dead.length > 0 ? `${dead.join()} has died` : `it does not settle: ${error}`;
  const paths = [...attackers.saying].map((flights) =>
    keep(CORPUS, 'failing', Buffer.concat(flights), `${why}, seed ${seed}`),
  );
  return [why, ...paths].join(', ');
}
