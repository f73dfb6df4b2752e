/**
 * Goal: an edge does its part of a move and of its own shutdown: it proves what it acquires, lets
 * the clients go of what it has lost, at the pace that it is told, releases it, and ends when it is
 * empty or when its time is up. No push is lost meanwhile.
 * Method: real edges, a real router and a real Redis; control is played by the test, so that each
 * word of it can be chosen.
 */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { AssignedEdge, Move } from '../../../common/cluster/assignment.js';
import { shardOf } from '../../../common/cluster/shard.js';
import { FakeControl } from '../../support/cluster/fake-control.js';
import { PushClient } from '../../support/cluster/push-client.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { type Role, startRole } from '../../support/cluster/role.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';

const SHARDS = 8;
/** The shard that is moved. */
const SHARD = 3;

let redis: TestRedis;
let control: FakeControl;
let roles: Role[];
let clients: SseClient[];

beforeEach(async () => {
  redis = await startRedis();
  control = await FakeControl.start();
  roles = [];
  clients = [];
}, 30_000);

afterEach(async () => {
  for (const client of clients) client.close();
  await Promise.all(roles.map((role) => role.stop()));
  control.stop();
  await redis.stop();
}, 30_000);

async function start(role: string, env: NodeJS.ProcessEnv = {}): Promise<Role> {
  const started = await startRole(role, {
    LONGLINE_REDIS_URL: redis.url,
    LONGLINE_SHARD_COUNT: `${SHARDS}`,
    LONGLINE_CONTROL_ADDRESS: control.address,
    LONGLINE_LOG_LEVEL: 'error',
    ...env,
  });
  roles.push(started);
  return started;
}

/** Its devices reach it at the first of its ports, whatever the name of this machine. */
async function startEdge(id: string, env: NodeJS.ProcessEnv = {}): Promise<Role> {
  const edge = await start('edge', {
    LONGLINE_EDGE_ID: id,
    LONGLINE_EDGE_PORT: '0',
    LONGLINE_EDGE_ADMIN_PORT: '0',
    ...env,
  });
  await eventually(() => control.sessions.has(id));
  return edge;
}

const startRouter = () =>
  start('router', { LONGLINE_ROUTER_HTTP_PORT: '0', LONGLINE_ROUTER_GRPC_PORT: '0' });

/** Everything is owned by the first edge but for the shards of `second`. */
function publish({
  second = [] as readonly number[],
  moves = [] as readonly Omit<Move, 'from' | 'to'>[],
  intents = {} as Record<string, AssignedEdge['intent']>,
} = {}): void {
  const owners = Uint16Array.from({ length: SHARDS }, (_, shard) => +second.includes(shard));
  control.publish({
    edges: control.edges(intents),
    owners,
    moves: moves.map((move) => ({ ...move, from: 'edge-1', to: 'edge-2' })),
    isBalancing: false,
  });
}

function clientIdsOf(shard: number, count: number): string[] {
  const found: string[] = [];
  for (let i = 0; found.length < count; i++) {
    if (shardOf(`device-${i}`, SHARDS) === shard) found.push(`device-${i}`);
  }
  return found;
}

async function connect(edge: Role, clientId: string): Promise<SseClient> {
  const url = `http://127.0.0.1:${edge.ports.devices}/connect?clientId=${clientId}`;
  return open(url);
}

/** The host name that an edge advertises by itself may not resolve here. */
async function open(url: string, headers = {}): Promise<SseClient> {
  const { port, pathname, search } = new URL(url);
  const client = await SseClient.openOnce(`http://127.0.0.1:${port}${pathname}${search}`, {
    headers,
  });
  clients.push(client);
  return client;
}

const openCount = () => clients.filter(({ isOpen }) => isOpen).length;

const goawayOf = (client: SseClient) =>
  client.events.filter(({ event }) => event === 'goaway').map(({ data }) => JSON.parse(data));

async function metric(edge: Role, pattern: RegExp): Promise<number> {
  const { body } = await httpRequest(`http://127.0.0.1:${edge.ports.admin}/metrics`);
  return Number(pattern.exec(body)?.[1] ?? 0);
}

describe('a shard that moves', () => {
  test('is acquired, its clients of before are let go at the given pace, and it is released', async () => {
    const one = await startEdge('edge-1');
    const two = await startEdge('edge-2');
    const router = await startRouter();
    const push = new PushClient(`127.0.0.1:${router.ports.grpc}`);
    try {
      publish();
      await eventually(() => control.stats('edge-1').shardsSubscribed === SHARDS);
      const ids = clientIdsOf(SHARD, 7);
      const [guestId, ...before] = ids as [string, ...string[]];
      for (const id of before) await connect(one, id);

      // Acquired: subscribed, and proven although nobody pushes.
      publish({ moves: [{ shard: SHARD, phase: 'acquiring' }] });
      await eventually(() => expect(control.stats('edge-2').acquired).toEqual([SHARD]));
      await eventually(() => control.stats('edge-1'));
      expect(control.stats('edge-1').acquired).toEqual([]);
      expect(control.stats('edge-2').shardsSubscribed).toBe(1);

      // Handing over: nobody is told to go before a pace is heard.
      publish({ second: [SHARD], moves: [{ shard: SHARD, phase: 'handing-over' }] });
      await eventually(() => expect(control.stats('edge-1').guests).toBe(before.length));
      expect(await metric(one, /^longline_edge_goaways_pending (\d+)$/m)).toBe(before.length);
      const { incarnation, epoch } = control.current.position;
      const sent = `&epoch=${incarnation}-${epoch}`;
      const guest = await connect(one, `${guestId}${sent}`);
      expect(openCount()).toBe(7);

      const startMs = performance.now();
      control.pace('edge-1', { goawaysPerSecond: 4 });
      await eventually(() => openCount() === 1);
      const tookMs = performance.now() - startMs;
      expect(tookMs).toBeGreaterThan(900);
      expect(tookMs).toBeLessThan(3_000);

      // Each was told where to, and for how long to wait.
      const edges = control.edges();
      for (const [i, id] of before.entries()) {
        const [gone] = goawayOf(clients[i]!);
        expect(gone).toEqual({ url: `${edges[1]!.advertisedUrl}/connect?clientId=${id}${sent}` });
        expect(clients[i]!.retryMs).toBeGreaterThanOrEqual(100);
        expect(clients[i]!.retryMs).toBeLessThanOrEqual(1_000);
      }
      expect(new Set(clients.slice(0, -1).map(({ retryMs }) => retryMs)).size).toBeGreaterThan(1);
      expect(await metric(one, /ended_total\{reason="goaway"\} (\d+)/)).toBe(before.length);

      // PushResult to between two edges, it waits in the inbox; at the new edge it is served.
      const id = before[0]!;
      expect((await push.push(id, 'on the way')).verdict).toBe('STORED');
      const back = await open(goawayOf(clients[0]!)[0].url);
      await eventually(() => back.data.includes('on the way'));
      expect(control.stats('edge-2').guests).toBe(0);
      // Whoever comes back to the old edge is sent on.
      const old = `http://127.0.0.1:${one.ports.devices}/connect?clientId=${before[1]}`;
      expect(await httpRequest(old)).toMatchObject({ status: 307 });

      // The guest came by choice: it stays, is served, and keeps the subscription.
      await eventually(() => expect(control.stats('edge-1').released).toEqual([SHARD]), 15_000);
      expect(performance.now() - startMs).toBeGreaterThan(10_000);
      expect(guest.isOpen).toBe(true);
      expect((await push.push(guestId, 'to the guest')).verdict).toBe('WRITTEN');
      expect(control.stats('edge-1').shardsSubscribed).toBe(SHARDS);
      guest.close();
      await eventually(() => control.stats('edge-1').shardsSubscribed === SHARDS - 1);
      expect(control.stats('edge-1').released).toEqual([SHARD]);
      publish({ second: [SHARD] });
      await eventually(() => expect(control.stats('edge-1').released).toEqual([]));
      expect(two.exitCode).toBe(null);
    } finally {
      push.close();
    }
  }, 60_000);

  test('that comes back keeps its clients', async () => {
    const one = await startEdge('edge-1');
    await startEdge('edge-2');
    publish();
    for (const id of clientIdsOf(SHARD, 3)) await connect(one, id);
    publish({ second: [SHARD] });
    await eventually(() => control.stats('edge-1').guests === 3);
    publish();
    await eventually(() => control.stats('edge-1').guests === 0);
    control.pace('edge-1', { goawaysPerSecond: 1_000 });
    await eventually(() => control.stats('edge-1').connections === 3);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(openCount()).toBe(3);
  }, 30_000);
});

describe('an edge that is told to end', () => {
  test('says so at once, is emptied, and exits 0', async () => {
    const one = await startEdge('edge-1');
    await startEdge('edge-2');
    publish();
    for (const id of clientIdsOf(SHARD, 3)) await connect(one, id);
    one.signal('SIGTERM');
    await eventually(() => expect(control.stats('edge-1').shuttingDown).toBe(true), 1_000);
    const ready = await httpRequest(`http://127.0.0.1:${one.ports.admin}/readyz`);
    expect(ready).toMatchObject({ status: 503, body: expect.stringMatching(/leaving/) });
    expect(openCount()).toBe(3);
    const all = Array.from({ length: SHARDS }, (_, shard) => shard);
    const intents = { 'edge-1': 'draining' } as const;
    const moves = all.map((shard) => ({ shard, phase: 'handing-over' as const }));
    publish({ second: all, moves, intents });
    await eventually(() => control.stats('edge-1').guests === 3);
    // A guest came by choice, and has to go all the same.
    const [, , , guestId] = clientIdsOf(SHARD, 4);
    const { incarnation, epoch } = control.current.position;
    const guest = await connect(one, `${guestId}&epoch=${incarnation}-${epoch}`);
    expect(openCount()).toBe(4);
    control.pace('edge-1', { goawaysPerSecond: 100 });
    await eventually(() => openCount() === 0);
    expect(goawayOf(guest)[0].url).toMatch(/device-.*&epoch=/);
    await eventually(() => control.stats('edge-1').released.length === SHARDS, 15_000);
    expect(one.exitCode).toBe(null);
    publish({ second: all, intents });
    expect(await one.exited).toBe(0);
  }, 45_000);

  test('closes whoever is left before its deadline, lets nobody in, and exits 0', async () => {
    const one = await startEdge('edge-1', { LONGLINE_EDGE_DRAIN_MS: '4000' });
    await startEdge('edge-2');
    publish();
    const [other, ...ids] = clientIdsOf(SHARD, 5);
    for (const id of ids) await connect(one, id);
    const startMs = performance.now();
    one.signal('SIGTERM');
    await eventually(() => openCount() === 3);
    // The others are still there: not all at once.
    expect(performance.now() - startMs).toBeLessThan(3_000);
    await expect(connect(one, other!)).rejects.toThrow(/503.*NOT_READY/);
    expect(await one.exited).toBe(0);
    expect(performance.now() - startMs).toBeGreaterThan(3_500);
    expect(openCount()).toBe(0);
    // Nobody else owns their shard: they are to ask.
    for (const client of clients) expect(goawayOf(client)).toEqual([{}]);
  }, 30_000);

  test.each<[string, NodeJS.ProcessEnv]>([
    ['is not to drain', { LONGLINE_EDGE_DRAIN_MS: '0' }],
    ['is the only one', {}],
  ])('stops at once when it %s', async (_, env) => {
    const one = await startEdge('edge-1', env);
    if ('LONGLINE_EDGE_DRAIN_MS' in env) await startEdge('edge-2');
    publish();
    await connect(one, clientIdsOf(SHARD, 1)[0]!);
    const startMs = performance.now();
    one.signal('SIGTERM');
    expect(await one.exited).toBe(0);
    expect(performance.now() - startMs).toBeLessThan(3_000);
  });

  test('stops at once when it is told twice, or interrupted', async () => {
    const one = await startEdge('edge-1');
    const two = await startEdge('edge-2');
    publish();
    await eventually(() => control.stats('edge-1').ready);
    one.signal('SIGTERM');
    await eventually(() => control.stats('edge-1').shuttingDown);
    expect(one.exitCode).toBe(null);
    one.signal('SIGTERM');
    expect(await one.exited).toBe(0);
    two.signal('SIGINT');
    expect(await two.exited).toBe(0);
  });
});

test('an edge that an operator drains stays, closes whoever is left by the deadline, or ends if it is set to', async () => {
  const one = await startEdge('edge-1');
  await startEdge('edge-2');
  publish();
  for (const id of clientIdsOf(SHARD, 4)) await connect(one, id);
  publish({ intents: { 'edge-1': 'draining' } });
  control.pace('edge-1', { drainUntilMs: Date.now() + 3_000 });
  await eventually(() => openCount() === 0);
  await new Promise((resolve) => setTimeout(resolve, 3_500));
  expect(one.exitCode).toBe(null);

  const three = await startEdge('edge-3', { LONGLINE_EDGE_EXIT_WHEN_DRAINED: 'true' });
  publish({ intents: { 'edge-3': 'draining' } });
  expect(await three.exited).toBe(0);
}, 30_000);

test('of several controls, an edge finds the one that leads', async () => {
  const other = await FakeControl.start();
  other.isLeader = false;
  try {
    await startEdge('edge-1', {
      LONGLINE_CONTROL_ADDRESS: `127.0.0.1:1,${other.address}, ${control.address}`,
      LONGLINE_EDGE_ZONE: 'zone-b',
    });
    expect(other.rejections).toBeGreaterThan(0);
    const { hello, stats } = control.sessions.get('edge-1')!;
    expect(hello.zone).toBe('zone-b');
    await eventually(() => stats !== undefined || control.sessions.get('edge-1')?.stats);
    // The leader changes.
    control.isLeader = false;
    other.isLeader = true;
    control.sessions.get('edge-1')!.call.end();
    await eventually(() => other.sessions.has('edge-1'), 15_000);
  } finally {
    other.stop();
  }
}, 40_000);
