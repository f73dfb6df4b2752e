/**
 * Fuzzes the device port of a real edge in a cluster of its own: it must not die or complain, must
 * give back what it took, and must not let devices that behave feel anything.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { residentBytes } from '../../bench/resident.js';
import { readLogLine } from '../../cli/log-line.js';
import { packageRoot } from '../../cli/package-root.js';
import { seededRandom } from '../sim/draw.js';
import { eventually } from '../support/eventually.js';
import { RunningCluster } from '../support/running-cluster.js';
import { Attackers } from './attackers.js';
import { keep, loadCorpus } from './corpus.js';
import { Healthy } from './healthy.js';
import { connectDevices } from './healthy-device.js';
import { sessions } from './sessions.js';
import { targets } from './targets.js';

export interface ConnectionResult {
  readonly sessions: number;
  readonly pushes: number;
  readonly slowestPushMs: number;
  readonly failures: readonly string[];
}

const EDGE = 'edge-1';
const CORPUS = 'connections';
const HEAD_TIMEOUT_MS = 1_000;
/** The deadline is looked at once a second. */
const PATIENCE_MS = HEAD_TIMEOUT_MS + 2_000;
/** Without garbage, over a run, after the first fifth of it. */
const HEAP_GROWTH_BYTES_MAX = 8 * 1024 * 1024;
const RESIDENT_GROWTH_BYTES_MAX = 32 * 1024 * 1024;
const SETTLE_DEADLINE_MS = 30_000;

interface Held {
  readonly descriptors: number;
  readonly heapBytes: number;
  readonly residentBytes: number;
}

export async function fuzzConnections(seed: number, seconds: number): Promise<ConnectionResult> {
  const failures: string[] = [];
  const collector = pathToFileURL(join(packageRoot, 'dist/bench/collect-on-signal.js')).href;
  let isEnding = false;
  const running = await RunningCluster.start({
    edges: 1,
    env: {
      NODE_OPTIONS: `--import=${collector}`,
      LONGLINE_EDGE_HEAD_TIMEOUT_MS: `${HEAD_TIMEOUT_MS}`,
      LONGLINE_PROXY_NETWORKS: '127.0.0.1/32',
    },
    onOutput: (name, line) => {
      const { text, isAlarming } = readLogLine(line);
      if (name === EDGE && isAlarming && !isEnding) failures.push(`${name} says: ${text}`);
    },
  });
  const port = Number(new URL(running.cluster.edgeUrl(EDGE)).port);
  const attackers = new Attackers({
    port,
    sessions,
    corpus: loadCorpus(CORPUS),
    words: targets.flatMap(({ words }) => words),
    random: seededRandom(seed),
    patienceMs: PATIENCE_MS,
  });
  const healthy = new Healthy(await connectDevices(running, port), running.push);
  try {
    await healthy.untilConnected();
    let isOver = false;
    const pushing = healthy.push(() => isOver);
    const attacking = attack(running, attackers, healthy.devices.length, seconds);
    failures.push(...(await attacking.catch((error) => [died(running, attackers, seed, error)])));
    isOver = true;
    await pushing.catch((error) => failures.push(`a push failed: ${error}`));
    failures.push(...(await healthy.failures()));
  } finally {
    isEnding = true;
    await healthy.close();
    await running.stop();
  }
  return {
    sessions: attackers.played,
    pushes: healthy.pushes,
    slowestPushMs: Math.round(healthy.slowestMs),
    failures,
  };
}

/** Returns what the edge has kept of it. */
async function attack(
  running: RunningCluster,
  attackers: Attackers,
  healthy: number,
  seconds: number,
): Promise<string[]> {
  await attackers.run(seconds / 5);
  const before = await held(running, healthy);
  await attackers.run((seconds * 4) / 5);
  let failures: string[] = [];
  // What is freed is given back to the system late; what leaks never is.
  await eventually(async () => {
    failures = compare(before, await held(running, healthy));
    return failures.length === 0;
  }, SETTLE_DEADLINE_MS).catch((error) => {
    if (failures.length === 0) throw error;
  });
  return failures;
}

function compare(before: Held, after: Held): string[] {
  const grown = (what: keyof Held) => after[what] - before[what];
  return [
    ...(grown('descriptors') > 0
      ? [`${grown('descriptors')} descriptors were not given back`]
      : []),
    ...(grown('heapBytes') > HEAP_GROWTH_BYTES_MAX
      ? [`the heap of the edge has grown by ${grown('heapBytes')} bytes`]
      : []),
    ...(grown('residentBytes') > RESIDENT_GROWTH_BYTES_MAX
      ? [`the resident memory of the edge has grown by ${grown('residentBytes')} bytes`]
      : []),
  ];
}

/** What the edge holds when only those that behave are left. */
async function held(running: RunningCluster, healthy: number): Promise<Held> {
  const pid = running.cluster.pid(EDGE)!;
  await eventually(
    async () => (await running.metric(EDGE, 'longline_edge_connections')) === healthy,
    SETTLE_DEADLINE_MS,
  );
  process.kill(pid, 'SIGUSR2');
  await sleep(1_000);
  const space = (name: string) =>
    running.metric(EDGE, 'nodejs_heap_space_size_used_bytes', { space: name });
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    heapBytes: (await space('old')) + (await space('large_object')),
    residentBytes: residentBytes(pid),
  };
}

/** Keeps what was being said: it is one of these. */
function died(running: RunningCluster, attackers: Attackers, seed: number, error: unknown): string {
  const hasDied = running.cluster.pid(EDGE) === undefined;
  const why = hasDied ? 'the edge has died' : `the edge does not settle: ${error}`;
  const paths = [...attackers.saying].map((flights) =>
    keep(CORPUS, 'failing', Buffer.concat(flights), `${why}, seed ${seed}`),
  );
  return [why, ...paths].join(', ');
}
