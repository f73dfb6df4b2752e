/**
 * Goal: closed connections leak nothing.
 * Method: 200,000 connections to one edge, with every kind of ending; the resources of the edge are
 * compared with those after a warm-up.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, test as always, beforeAll, expect } from '@jest/globals';
import { residentBytes } from '../../../bench/support/memory/process-memory.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { LIVE } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { Churn } from '../../support/devices/churn.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { eventually } from '../../support/eventually.js';
import { countObjects, newStrings } from '../../support/heap-snapshot.js';
import { TLS_RUN } from '../../support/tls/tls-run.js';

/** Its clients use our transport, which is no client of TLS. */
const test = TLS_RUN ? always.skip : always;

const CONNECTIONS = 200_000;
/** Connections until the heap has the size that such a load needs. */
const WARM_UP = 120_000;
const SLOW_READERS = 4;
const BIG_PAYLOAD = Buffer.alloc(512 * 1024, 'x');
/** Maximum ratio to the level after the warm-up. */
const GROWTH_MAX = 1.03;
/** So many that one leaked object per connection is far above the variation of library caches. */
const SNAPSHOT_CONNECTIONS = 50_000;
const EDGE = 'edge-1';

let running: RunningCluster;
let churn: Churn;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'longline-churn-'));
  const collector = pathToFileURL(
    join(packageRoot, 'dist/bench/support/memory/collect-on-signal.js'),
  ).href;
  running = await RunningCluster.start({
    edges: 1,
    env: {
      // Admission control would only slow the test down.
      LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX: '0',
      // A fixed size of the young generation, which V8 otherwise resizes with the load.
      NODE_OPTIONS: `--max-semi-space-size=1 --import=${collector} --heapsnapshot-signal=SIGHUP --diagnostic-dir=${folder}`,
    },
  });
  churn = new Churn(Number(new URL(running.cluster.edgeUrl(EDGE)).port));
});

afterAll(async () => {
  await churn?.close();
  await running?.stop();
  rmSync(folder, { recursive: true, force: true });
});

function pid(): number {
  return running.cluster.pid(EDGE)!;
}

interface Memory {
  readonly heap: number;
  readonly resident: number;
}

/** Resolves when no device is connected and timers of closed connections have expired. */
async function untilEmpty(): Promise<void> {
  await eventually(async () => {
    expect(await running.metric(EDGE, 'longline_edge_connections')).toBe(0);
    expect(await running.metric(EDGE, 'longline_edge_catching_up')).toBe(0);
  });
  await sleep(3_000);
}

function descriptors(): number {
  return readdirSync(`/proc/${pid()}/fd`).length;
}

function slotBytes(): Promise<number> {
  return running.metric(EDGE, 'longline_edge_memory_bytes', { part: 'slots' });
}

/** Memory of the edge after a garbage collection. */
async function memory(): Promise<Memory> {
  process.kill(pid(), 'SIGUSR2');
  await sleep(1_000);
  const space = (name: string) =>
    running.metric(EDGE, 'nodejs_heap_space_size_used_bytes', { space: name });
  const heap = (await space('old')) + (await space('large_object'));
  return { heap, resident: residentBytes(pid()) };
}

async function takeSnapshot(): Promise<string> {
  const before = new Set(readdirSync(folder));
  process.kill(pid(), 'SIGHUP');
  const name = await eventually(
    () => readdirSync(folder).find((each) => !before.has(each)) ?? false,
  );
  let size = -1;
  await eventually(async () => {
    const last = size;
    size = statSync(join(folder, name as string)).size;
    await sleep(300);
    return size > 0 && size === last;
  });
  return join(folder, name as string);
}

/** Connects devices that never read, and pushes until the edge disconnects them. */
async function disconnectSlowReaders(round: string): Promise<void> {
  const sockets: RawSocket[] = [];
  for (let i = 0; i < SLOW_READERS; i++) {
    const socket = await RawSocket.connect(churn.port);
    await socket.send(`GET /connect?clientId=slow-${round}-${i} HTTP/1.1\r\nHost: edge\r\n\r\n`);
    await socket.untilText('retry: ');
    socket.stopReading();
    sockets.push(socket);
  }
  for (let i = 0; i < SLOW_READERS; i++) {
    await eventually(
      async () =>
        (await running.push.push(`slow-${round}-${i}`, BIG_PAYLOAD, LIVE)).verdict === 'SLOW',
    );
  }
  for (const socket of sockets) socket.close();
}

test('200,000 connections leak no memory, descriptors or slots', async () => {
  await churn.run(WARM_UP);
  await disconnectSlowReaders('warm-up');
  await untilEmpty();
  const [descriptorsBefore, slotsBefore] = [descriptors(), await slotBytes()];
  await memory();
  const before = await memory();

  await churn.run(CONNECTIONS);
  await disconnectSlowReaders('after');
  await untilEmpty();

  // The other half disconnected before the end of their request.
  expect(churn.answered).toBe((WARM_UP + CONNECTIONS) / 2);
  // Fewer if the edge closed an idle connection of its own, such as one that fetched metrics.
  expect(descriptors()).toBeLessThanOrEqual(descriptorsBefore);
  expect(await slotBytes()).toBe(slotsBefore);
  // Freed memory returns to the system late; leaked memory never does.
  await eventually(async () => {
    const after = await memory();
    expect(after.heap / before.heap).toBeLessThan(GROWTH_MAX);
    expect(after.resident / before.resident).toBeLessThan(GROWTH_MAX);
  }, 60_000);
});

// After the other test, because a snapshot uses memory that does not fully return.
test('no object of a closed connection is retained', async () => {
  await untilEmpty();
  const fileBefore = await takeSnapshot();
  const before = countObjects(fileBefore);
  await churn.run(SNAPSHOT_CONNECTIONS);
  await disconnectSlowReaders('again');
  await untilEmpty();
  const fileAfter = await takeSnapshot();
  const after = countObjects(fileAfter);
  const grown = [...after].filter(
    ([name, count]) => count - (before.get(name) ?? 0) > SNAPSHOT_CONNECTIONS / 100,
  );
  const samples = grown.length > 0 ? newStrings(fileBefore, fileAfter).slice(0, 20) : [];
  expect({ grown, samples }).toEqual({ grown: [], samples: [] });
});
