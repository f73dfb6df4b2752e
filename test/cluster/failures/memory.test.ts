/**
 * Goal: a role that is short of memory rejects work with OVERLOADED, says so, and is not killed.
 * Method: a cluster whose router and edge are each in a memory control group of their own, with a
 * limit a little over what they use. Backends push more than fits while Redis does not answer.
 * Needs Linux and the right to make control groups.
 */
import type { ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { LocalCluster } from '../../../cli/local/cluster.js';
import { memoryObstacle } from '../../../drill/memory/cgroups.js';
import { MemoryGroups } from '../../../drill/memory/memory-groups.js';
import { metricOf, untilCaughtUp } from '../../support/cluster/metric.js';
import { PushClient } from '../../support/cluster/push-client.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';

const MIB = 1024 * 1024;
const BOUNDED = ['router', 'edge-1'];
const SPARE_BYTES = 100 * MIB;
const PAYLOAD = 'x'.repeat(256 * 1024);
/** Together they have more in progress than the router has memory for. */
const BACKENDS = 100;
const PUSHES_EACH = 3;
const HANG_MS = 2_000;
const FIRST_SPARE_BYTES = 15 * MIB;

const obstacle = await memoryObstacle();
const testHere = obstacle === undefined ? test : test.skip;

let groups: MemoryGroups;
let redis: TestRedis;
let admin: Redis;
let cluster: LocalCluster;
let pushes: PushClient;

beforeAll(async () => {
  if (obstacle !== undefined) return;
  groups = await MemoryGroups.open(BOUNDED);
  redis = await startRedis();
  admin = new Redis(redis.url);
  cluster = await LocalCluster.start({
    redisUrl: redis.url,
    edges: 1,
    ports: 'free',
    restart: false,
    env: { LONGLINE_SHARD_COUNT: '64' },
    launchOf: (name) => (BOUNDED.includes(name) ? { command: groups.commandOf(name) } : {}),
  });
  await cluster.waitUntilReady(90_000);
  pushes = new PushClient(cluster.routerAddress);
});

afterAll(async () => {
  pushes?.close();
  await cluster?.stop();
  await groups?.close();
  admin?.disconnect();
  await redis?.stop();
});

async function limit(name: string): Promise<void> {
  await groups.setLimit(name, (await groups.used(name)) + SPARE_BYTES);
}

async function reasonsOf(name: string): Promise<string> {
  const { status, body } = await httpRequest(`${cluster.httpUrl(name)}/readyz`);
  expect(status).toBe(200);
  return JSON.parse(body).reasons.join();
}

/** Lifts the limit: the process is the same, and works again. */
async function expectSurvived(name: string, pid: number | undefined): Promise<void> {
  expect(cluster.pid(name)).toBe(pid);
  expect(await groups.kills(name)).toBe(0);
  await groups.setLimit(name, undefined);
  await eventually(async () => expect(await reasonsOf(name)).toBe(''));
}

/** A verdict or the code of an error. */
async function outcomeOf(clientId: string): Promise<string> {
  try {
    return (await pushes.push(clientId, PAYLOAD, { waitMs: 5_000 })).verdict;
  } catch (error) {
    return String((error as ServiceError).metadata?.get('longline-code')[0] ?? error);
  }
}

testHere(
  'a router rejects pushes with OVERLOADED when those in progress fill its memory',
  async () => {
    const pid = cluster.pid('router');
    await limit('router');
    const counts: Record<string, number> = {};
    const backend = async (clientId: string) => {
      for (let i = 0; i < PUSHES_EACH; i++) {
        const outcome = await outcomeOf(clientId);
        counts[outcome] = (counts[outcome] ?? 0) + 1;
      }
    };
    // On a busy machine, backends may have too little in progress before Redis answers again.
    await eventually(async () => {
      await admin.client('PAUSE', HANG_MS);
      await Promise.all(Array.from({ length: BACKENDS }, (_, i) => backend(`away-${i}`)));
      expect(counts.OVERLOADED).toBeGreaterThan(0);
    });
    // On a busy machine some time out; a router that was killed would be UNAVAILABLE.
    expect(Object.keys(counts).filter((name) => name.includes('UNAVAILABLE'))).toEqual([]);
    await expectSurvived('router', pid);
    await eventually(async () => expect(await outcomeOf('away-1')).toBe('STORED'));
  },
);

testHere('an edge admits no new device, and serves those that it has', async () => {
  const reader = await SseClient.open(`${cluster.routerUrl}/connect?clientId=reader`);
  await untilCaughtUp(cluster);
  const pid = cluster.pid('edge-1');
  const available = () => metricOf(cluster.httpUrl('edge-1'), 'longline_memory_available_bytes');
  let spareBytes = FIRST_SPARE_BYTES;
  await eventually(async () => {
    const before = await available();
    // A part of what is used is page cache, which the kernel gives up first.
    await groups.setLimit('edge-1', (await groups.used('edge-1')) + spareBytes);
    spareBytes -= MIB / 2;
    // The next step would be one too many for an edge that has not looked yet.
    await eventually(async () => expect(await available()).not.toBe(before));
    const isSaid = /short of memory: \d+ of the \d+ MiB of its control group are used/;
    expect(await reasonsOf('edge-1')).toMatch(isSaid);
  });
  expect(await pushes.push('reader', 'still here')).toMatchObject({ verdict: 'WRITTEN' });
  const { status, body } = await httpRequest(`${cluster.edgeUrl('edge-1')}/connect?clientId=new`);
  expect([status, JSON.parse(body).error.code]).toEqual([503, 'OVERLOADED']);
  await expectSurvived('edge-1', pid);
  reader.close();
});
