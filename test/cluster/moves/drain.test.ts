/**
 * Goal: an edge executes its part of a move and of a shutdown: it proves acquired shards, sends
 * GOAWAYs to the clients of lost shards at the pace that control sets, releases the shards, and
 * exits when it is empty or its drain time is over. No push is lost. Method: real edges, a real
 * router and a real Redis. The test replaces control, so that it can choose every message.
 */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { AssignedEdge, Move } from '../../../common/cluster/assignment.js';
import { shardOf } from '../../../common/cluster/shard.js';
import { FakeControl } from '../../support/cluster/fake-control.js';
import { metricOf } from '../../support/cluster/metric.js';
import { PushClient } from '../../support/cluster/push-client.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { type Role, startRole } from '../../support/cluster/role.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';

const SHARDS = 8;
const REJECTED = 'longline_edge_requests_rejected_total';
const NOT_READY = { code: 'NOT_READY' };

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
});

afterEach(async () => {
  for (const client of clients) client.close();
  await Promise.all(roles.map((role) => role.stop()));
  control.stop();
  await redis.stop();
});

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

/** Resolves when the edge has a session with control. */
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

/** The first edge owns all shards except those of `second`. */
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

/** Connects to the loopback address: the host name that an edge advertises may not resolve here. */
async function open(url: string, headers = {}): Promise<SseClient> {
  const { port, pathname, search } = new URL(url);
  const client = await SseClient.openOnce(`http://127.0.0.1:${port}${pathname}${search}`, {
    headers,
  });
  clients.push(client);
  return client;
}

/** Resolves when an edge has just sent a report under the newest assignment. */
async function untilNextReport(edgeId: string): Promise<void> {
  const last = control.sessions.get(edgeId)!.stats;
  await eventually(() => control.stats(edgeId) !== last);
}

const openCount = () => clients.filter(({ isOpen }) => isOpen).length;

const goawayOf = (client: SseClient) =>
  client.events.filter(({ event }) => event === 'goaway').map(({ data }) => JSON.parse(data));

async function metric(edge: Role, pattern: RegExp): Promise<number> {
  const { body } = await httpRequest(`http://127.0.0.1:${edge.ports.admin}/metrics`);
  return Number(pattern.exec(body)?.[1] ?? 0);
}

describe('a moving shard', () => {
  test('is acquired, its clients receive GOAWAYs at the given pace, and it is released', async () => {
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

      // Acquired: subscribed, and proven without a push.
      publish({ moves: [{ shard: SHARD, phase: 'acquiring' }] });
      await eventually(() => expect(control.stats('edge-2').acquired).toEqual([SHARD]));
      await eventually(() => control.stats('edge-1'));
      expect(control.stats('edge-1').acquired).toEqual([]);
      expect(control.stats('edge-2').shardsSubscribed).toBe(1);

      // Handing over: no GOAWAY before the edge has received a pace.
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
      // At one a second, they take longer than this.
      expect(tookMs).toBeLessThan(5_000);

      // Each GOAWAY has a URL and a delay.
      const edges = control.edges();
      for (const [i, id] of before.entries()) {
        const [goaway] = goawayOf(clients[i]!);
        expect(goaway).toEqual({ url: `${edges[1]!.advertisedUrl}/connect?clientId=${id}${sent}` });
        expect(clients[i]!.retryMs).toBeGreaterThanOrEqual(100);
        expect(clients[i]!.retryMs).toBeLessThanOrEqual(1_000);
      }
      expect(new Set(clients.slice(0, -1).map(({ retryMs }) => retryMs)).size).toBeGreaterThan(1);
      expect(await metric(one, /closed_total\{reason="goaway"\} (\d+)/)).toBe(before.length);

      // A push to a client between two edges is stored, and delivered by the new edge.
      const id = before[0]!;
      expect((await push.push(id, 'on the way')).verdict).toBe('STORED');
      const back = await open(goawayOf(clients[0]!)[0].url);
      await eventually(() => back.data.includes('on the way'));
      expect(control.stats('edge-2').guests).toBe(0);
      // A client that reconnects to the old edge is redirected.
      const old = `http://127.0.0.1:${one.ports.devices}/connect?clientId=${before[1]}`;
      expect(await httpRequest(old)).toMatchObject({ status: 307 });

      // The guest connected after the move: it stays, is served, and keeps the subscription alive.
      await eventually(() => expect(control.stats('edge-1').released).toEqual([SHARD]));
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
  });

  test('keeps its clients if it moves back', async () => {
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
  });
});

describe('an edge that receives SIGTERM', () => {
  test('reports it at once, is drained, and exits with 0', async () => {
    const one = await startEdge('edge-1');
    await startEdge('edge-2');
    publish();
    for (const id of clientIdsOf(SHARD, 3)) await connect(one, id);
    await untilNextReport('edge-1');
    one.signal('SIGTERM');
    // The next regular report would come later.
    await eventually(() => expect(control.stats('edge-1').shuttingDown).toBe(true), 1_800);
    const ready = await httpRequest(`http://127.0.0.1:${one.ports.admin}/readyz`);
    expect(ready).toMatchObject({ status: 503, body: expect.stringMatching(/shutting down/) });
    expect(openCount()).toBe(3);
    const all = Array.from({ length: SHARDS }, (_, shard) => shard);
    const intents = { 'edge-1': 'draining' } as const;
    const moves = all.map((shard) => ({ shard, phase: 'handing-over' as const }));
    publish({ second: all, moves, intents });
    await eventually(() => control.stats('edge-1').guests === 3);
    // Guests receive a GOAWAY as well.
    const [, , , guestId] = clientIdsOf(SHARD, 4);
    const { incarnation, epoch } = control.current.position;
    const guest = await connect(one, `${guestId}&epoch=${incarnation}-${epoch}`);
    expect(openCount()).toBe(4);
    control.pace('edge-1', { goawaysPerSecond: 100 });
    await eventually(() => openCount() === 0);
    expect(goawayOf(guest)[0].url).toMatch(/device-.*&epoch=/);
    await eventually(() => control.stats('edge-1').released.length === SHARDS);
    expect(one.exitCode).toBe(null);
    publish({ second: all, intents });
    expect(await one.exited).toBe(0);
  });

  test('disconnects the remaining clients by its deadline, admits no new one, and exits with 0', async () => {
    const one = await startEdge('edge-1', { LONGLINE_EDGE_DRAIN_MS: '4000' });
    await startEdge('edge-2');
    publish();
    const [other, ...ids] = clientIdsOf(SHARD, 5);
    for (const id of ids) await connect(one, id);
    await untilNextReport('edge-1');
    const startMs = performance.now();
    const endedMs: number[] = [];
    for (const { ended } of clients) {
      void ended.then(() => endedMs.push(performance.now() - startMs));
    }
    one.signal('SIGTERM');
    await eventually(() => openCount() < ids.length);
    await (await connect(one, other!)).ended;
    expect(await metricOf(`http://127.0.0.1:${one.ports.admin}`, REJECTED, NOT_READY)).toBe(1);
    expect(await one.exited).toBe(0);
    expect(performance.now() - startMs).toBeGreaterThan(3_500);
    await eventually(() => openCount() === 0);
    // Clients are disconnected gradually.
    expect(endedMs).toHaveLength(ids.length);
    expect(endedMs.at(-1)! - endedMs[0]!).toBeGreaterThan(1_000);
    // Their shard has no other owner: they must query a router.
    for (const client of clients) expect(goawayOf(client)).toEqual([{}]);
  });

  test.each<[string, NodeJS.ProcessEnv]>([
    ['is configured not to drain', { LONGLINE_EDGE_DRAIN_MS: '0' }],
    ['is the only edge', {}],
  ])('stops at once when it %s', async (_, env) => {
    const one = await startEdge('edge-1', env);
    if ('LONGLINE_EDGE_DRAIN_MS' in env) await startEdge('edge-2');
    publish();
    await connect(one, clientIdsOf(SHARD, 1)[0]!);
    await untilNextReport('edge-1');
    one.signal('SIGTERM');
    // A process that has not stopped after ten seconds gives up and exits with 1.
    expect(await one.exited).toBe(0);
  });

  test('stops at once after a second SIGTERM, or after SIGINT', async () => {
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

test('an edge drained by an operator disconnects its clients by the deadline, and exits only if set to', async () => {
  const one = await startEdge('edge-1');
  await startEdge('edge-2');
  publish();
  for (const id of clientIdsOf(SHARD, 4)) await connect(one, id);
  publish({ intents: { 'edge-1': 'draining' } });
  control.pace('edge-1', { drainRemainingMs: 3_000 });
  await eventually(() => openCount() === 0);
  await new Promise((resolve) => setTimeout(resolve, 3_500));
  expect(one.exitCode).toBe(null);

  const three = await startEdge('edge-3', { LONGLINE_EDGE_EXIT_WHEN_DRAINED: 'true' });
  publish({ intents: { 'edge-3': 'draining' } });
  expect(await three.exited).toBe(0);
});

test('an edge finds the leader among several controls', async () => {
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
    await eventually(() => other.sessions.has('edge-1'));
  } finally {
    other.stop();
  }
});
