/**
 * Goal: wrong clocks lose no push, cut no connections and move no shards; operators see them.
 * Method: a cluster of processes whose clocks are set while they run, each for itself: of roles by
 * a module that is loaded first, of Redis by a library (which needs a C compiler).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { type ControlApi, controlApi } from '../../../cli/control/api.js';
import { readMachine } from '../../../cli/doctor/readings.js';
import { LocalCluster } from '../../../cli/local/cluster.js';
import { type LocalRedis, startRedis } from '../../../cli/local/redis.js';
import { isIdBefore } from '../../../common/cluster/inbox.js';
import { Clocks, RIGHT } from '../../../drill/clock/clocks.js';
import { metricOf } from '../../support/cluster/metric.js';
import { PushClient } from '../../support/cluster/push-client.js';
import { stopMoves } from '../../support/cluster/stop-moves.js';
import { NotAStream, SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';
import { SECRET, tokenOf } from '../../support/tokens.js';

const OPS = 'ops-token-0123456789';
const LINK = 'link-token-0123456789';
const HOUR_MS = 3_600_000;
const READY_MS = 60_000;
/** The clock of a role follows its setting within 50 ms. */
const SET_MS = 200;

const folder = mkdtempSync(join(tmpdir(), 'longline-clocks-'));
let clocks: Clocks;
let redis: LocalRedis;
let cluster: LocalCluster;
let api: ControlApi;
let push: PushClient;
const devices: SseClient[] = [];
let number = 0;

const inSeconds = (seconds: number) => Math.floor(Date.now() / 1_000) + seconds;
/** Valid for a day by any clock here. */
const TOKEN = { exp: inSeconds(86_400) };

beforeAll(async () => {
  clocks = await Clocks.open(folder);
  redis = await startClockedRedis();
  cluster = await LocalCluster.start({
    redisUrl: redis.url,
    edges: 2,
    controls: 2,
    ports: 'free',
    restart: false,
    launchOf: (name) => ({
      env: { ...clocks.envOf(name), NODE_OPTIONS: `--import=${clocks.module}` },
    }),
    env: {
      LONGLINE_SHARD_COUNT: '64',
      LONGLINE_CONTROL_LEASE_MS: '4000',
      LONGLINE_AUTH: 'jwt',
      LONGLINE_JWT_ALGORITHMS: 'HS256',
      LONGLINE_JWT_KEYS: SECRET,
      LONGLINE_TICKET_SECRET: SECRET.toUpperCase(),
      LONGLINE_LINK_TOKEN: LINK,
      LONGLINE_BACKEND_TOKENS: `ops:push+presence+disconnect:${OPS}`,
    },
  });
  await cluster.waitUntilReady(READY_MS);
  api = controlApi(cluster.controlUrl, OPS);
  await stopMoves(api);
  push = new PushClient(cluster.routerAddress, OPS);
});

afterEach(async () => {
  for (const device of devices.splice(0)) device.close();
  for (const name of cluster.names) await clocks.set(name, RIGHT);
  if (clocks.canSetRedis) await clocks.setRedis('redis', RIGHT);
  await sleep(SET_MS);
});

afterAll(async () => {
  push?.close();
  await cluster?.stop();
  await redis?.stop();
  rmSync(folder, { recursive: true, force: true });
});

function startClockedRedis(port?: number) {
  const args = ['--dir', folder];
  return startRedis({ ...(port && { port }), command: clocks.redisCommand('redis'), args });
}

const newClient = () => `client-${++number}`;

async function connect(
  clientId: string,
  headers: Record<string, string> = {},
  claims: object = {},
) {
  const authorization = `Bearer ${tokenOf(clientId, { ...TOKEN, ...claims })}`;
  const url = `${cluster.routerUrl}/connect?clientId=${clientId}`;
  const device = await SseClient.open(url, { headers: { ...headers, authorization } });
  devices.push(device);
  return device;
}

/** Pushes until one is written at once. Resolves when the device has received all of them. */
async function untilWritten(clientId: string, device: SseClient): Promise<void> {
  let pushes = 0;
  await eventually(async () => {
    pushes++;
    return (await push.push(clientId, 'first')).verdict === 'WRITTEN';
  });
  await eventually(() => expect(device.data).toHaveLength(pushes));
}

async function setEdges(aheadMs: number, driftPpm = 0): Promise<void> {
  for (const name of cluster.namesOf('edge')) await clocks.set(name, { aheadMs, driftPpm });
  await sleep(SET_MS);
}

test.each([90_000, -90_000, HOUR_MS, -HOUR_MS])(
  'with the clocks of edges %d ms ahead, stored pushes are delivered and expired ones are not',
  async (aheadMs) => {
    await setEdges(aheadMs, 10_000);
    const clientId = newClient();
    expect(await push.push(clientId, 'expires', { ttlMs: 300 })).toMatchObject({
      verdict: 'STORED',
    });
    await sleep(400);
    expect(await push.push(clientId, 'stays')).toMatchObject({ verdict: 'STORED' });
    const device = await connect(clientId);
    await eventually(() => expect(device.data).toEqual(['stays']));
    await push.push(clientId, 'live');
    await eventually(() => expect(device.data).toEqual(['stays', 'live']));
    const { connections } = await push.presence(clientId);
    expect(connections[0]!.connectedForMs).toBeLessThan(30_000);
  },
);

test('leases and leadership hold while the clocks of controls and edges are set', async () => {
  const since = (await api.events(0)).at(-1)?.id ?? 0;
  const { leader } = await api.cluster();
  for (const aheadMs of [HOUR_MS, -HOUR_MS, 0]) {
    for (const name of cluster.names) await clocks.set(name, { aheadMs, driftPpm: 10_000 });
    await sleep(2_000);
    expect(await api.cluster()).toMatchObject({ leader, edgesAlive: 2, shardsUnowned: 0 });
  }
  // Longer than a lease after the last step.
  await sleep(4_500);
  expect(await api.cluster()).toMatchObject({ leader, edgesAlive: 2, shardsUnowned: 0 });
  const types = (await api.events(since)).map(({ type }) => type);
  expect(types.filter((type) => /edge-|leader|frozen|move-|placed/.test(type))).toEqual([]);
});

test('a drain keeps its pace and its deadline while the clock of its edge is set', async () => {
  await api.perform('resume', {});
  const all = await Promise.all(Array.from({ length: 60 }, () => connect(newClient())));
  const clientsOf = (name: string) =>
    all.filter(({ url }) => url.startsWith(cluster.edgeUrl(name)));
  const byClients = cluster
    .namesOf('edge')
    .sort((a, b) => clientsOf(b).length - clientsOf(a).length);
  const draining = byClients[0]!;
  const own = clientsOf(draining);
  expect(own.length).toBeGreaterThan(10);
  const openCount = () => own.filter(({ isOpen }) => isOpen).length;
  const startedAtMs = performance.now();
  await api.drain(draining, { rate: 1, deadlineMs: 14_000 });
  await sleep(2_000);
  await clocks.set(draining, { aheadMs: 600_000, driftPpm: 0 });
  await sleep(2_500);
  // At most one a second; all at once by the wall clock.
  const closed = own.length - openCount();
  expect(closed).toBeLessThanOrEqual((performance.now() - startedAtMs) / 1_000 + 2);
  await clocks.set(draining, { aheadMs: -HOUR_MS, driftPpm: 0 });
  await eventually(() => openCount() === 0);
  expect(performance.now() - startedAtMs).toBeGreaterThan(8_000);
  await api.undrain(draining, {});
  await stopMoves(api);
});

describe('tokens', () => {
  const rejectionOf = async (claims: object) => {
    const found = await connect(newClient(), {}, claims).catch((error) => error);
    expect(found).toBeInstanceOf(NotAStream);
    return found as NotAStream;
  };

  test('the clock of the router decides within the tolerated difference, and is named', async () => {
    await clocks.set('router', { aheadMs: -20_000, driftPpm: 0 });
    await sleep(SET_MS);
    await connect(newClient(), {}, { iat: inSeconds(0), nbf: inSeconds(0) });
    await clocks.set('router', { aheadMs: -HOUR_MS, driftPpm: 0 });
    // Until the process has read its clock.
    await eventually(async () =>
      expect((await rejectionOf({ iat: inSeconds(0) })).body).toMatch(
        /issued in the future.*clock/,
      ),
    );
    expect((await rejectionOf({ nbf: inSeconds(0) })).body).toMatch(/not valid yet.*clock/);
    await clocks.set('router', { aheadMs: HOUR_MS, driftPpm: 0 });
    await eventually(async () =>
      expect((await rejectionOf({ exp: inSeconds(600) })).status).toBe(401),
    );
    for (const reason of ['issued_in_future', 'not_yet_valid', 'expired']) {
      const metric = 'longline_router_tokens_rejected_total';
      expect(await metricOf(cluster.httpUrl('router'), metric, { reason })).toBe(1);
    }
  });

  test('a connection ends when its token has expired by the clock of its edge', async () => {
    // Rejected until the router has read its clock again, which the test before has set.
    const device = await eventually(() => connect(newClient(), {}, { exp: inSeconds(1_800) }));
    await setEdges(-HOUR_MS);
    await sleep(1_500);
    expect(device.isOpen).toBe(true);
    await setEdges(HOUR_MS);
    await eventually(() => !device.isOpen);
    expect(device.events.at(-1)?.event).toBe('expired');
  });
});

test('metrics, readiness and doctor name the process whose clock is wrong', async () => {
  await clocks.set('edge-1', { aheadMs: 90_000, driftPpm: 0 });
  const offset = () =>
    metricOf(cluster.httpUrl('edge-1'), 'longline_redis_clock_offset_seconds', {
      master: new URL(redis.url).host,
    });
  await eventually(async () => expect(await offset()).toBeCloseTo(-90, 0));
  await eventually(async () => {
    const ready = await fetch(`${cluster.httpUrl('edge-1')}/readyz`);
    expect(ready.status).toBe(200);
    expect(await ready.text()).toContain("its clock is 90 s behind this machine's");
  });
  await eventually(async () => {
    const read = (await readMachine(redis.url)).redis!;
    const reports = 'clocks' in read ? read.clocks : [];
    expect(
      reports.map(({ process, offsetMs }) => [process, Math.round(offsetMs / 10_000)]),
    ).toEqual(
      expect.arrayContaining([
        ['this machine', expect.closeTo(0)],
        ['control', expect.closeTo(0)],
        ['edge-1', -9],
        ['edge-2', expect.closeTo(0)],
        ['router', expect.closeTo(0)],
      ]),
    );
  });
});

describe('the clock of Redis', () => {
  const setRedis = async (aheadMs: number) => {
    await clocks.setRedis('redis', { aheadMs, driftPpm: 10_000 });
  };

  /** Says why a test does not run here. */
  function isSkipped(): boolean {
    if (!clocks.canSetRedis) console.log('skipped: the clock of Redis needs a C compiler');
    return !clocks.canSetRedis;
  }

  test('is set during a connection: nothing is lost, and ids grow', async () => {
    if (isSkipped()) return;
    const clientId = newClient();
    const device = await connect(clientId);
    await untilWritten(clientId, device);
    const before = device.data.length;
    for (const aheadMs of [HOUR_MS, -HOUR_MS, 0, -HOUR_MS, HOUR_MS]) {
      await setRedis(aheadMs);
      // The inbox of the second one has expired before the next step.
      await push.push(clientId, `long ${aheadMs}`);
      await push.push(clientId, `short ${aheadMs}`, { ttlMs: 50 });
      await sleep(100);
    }
    await eventually(() => expect(device.data).toHaveLength(before + 10));
    const { ids } = device;
    expect(ids.slice(1).every((id, i) => isIdBefore(ids[i]!, id))).toBe(true);
  });

  test('is set forward: pushes that expired early are announced by a reset', async () => {
    if (isSkipped()) return;
    const clientId = newClient();
    const device = await connect(clientId);
    await untilWritten(clientId, device);
    const cursor = device.ids.at(-1)!;
    device.close();
    await eventually(async () => (await push.push(clientId, 'early')).verdict === 'STORED');
    await setRedis(HOUR_MS);
    const again = await connect(clientId, { 'last-event-id': cursor });
    await eventually(() => expect(again.events.at(-1)?.event).toBe('reset'));
    expect(again.data).toEqual([]);
    // Set back, the cursor of the reset is still a position from which a device resumes.
    await setRedis(0);
    again.close();
    await eventually(async () => (await push.push(clientId, 'later')).verdict === 'STORED');
    const third = await connect(clientId, { 'last-event-id': again.ids.at(-1)! });
    await eventually(() => expect(third.data).toEqual(['later']));
    expect(third.events.some(({ event }) => event === 'reset')).toBe(false);
  });

  test('was ahead, and Redis comes back with less: ids go on above all that devices have', async () => {
    if (isSkipped()) return;
    const clientId = newClient();
    await setRedis(HOUR_MS);
    const device = await connect(clientId);
    await untilWritten(clientId, device);
    const admin = new Redis(redis.url);
    await admin.save();
    admin.disconnect();
    const pushAll = async (texts: readonly string[]) => {
      for (const text of texts) {
        await eventually(async () => {
          const { verdict } = await push.push(clientId, text, { idempotencyKey: text });
          return verdict !== 'UNKNOWN';
        });
      }
    };
    await pushAll(['lost 1', 'lost 2', 'lost 3']);
    await eventually(() => expect(device.data.slice(-3)).toEqual(['lost 1', 'lost 2', 'lost 3']));
    const cursor = device.ids.at(-1)!;
    device.close();
    await redis.kill('SIGKILL');
    await setRedis(0);
    redis = await startClockedRedis(redis.port);
    const texts = Array.from({ length: 10 }, (_, i) => `new ${i}`);
    await pushAll(texts);
    const again = await connect(clientId, { 'last-event-id': cursor });
    await eventually(() => expect(again.data.slice(-10)).toEqual(texts));
    expect(again.events.some(({ event }) => event === 'reset')).toBe(true);
    expect(again.ids.slice(-10).every((id) => isIdBefore(cursor, id))).toBe(true);
    // A process that starts later knows the floor from the others.
    await cluster.kill('router');
    await cluster.startAgain('router');
    await cluster.waitUntilReady(READY_MS);
    const other = newClient();
    const { messageId } = await push.push(other, 'of another router');
    expect(isIdBefore(cursor, messageId)).toBe(true);
  });
});
