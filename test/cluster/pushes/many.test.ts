/**
 * Goal: one call reaches many clients and returns correct counts; accept levels reach the caller;
 * the command line offers the same. Method: a cluster of processes, clients on all edges, the gRPC
 * API as a backend uses it.
 */
import { credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { controlApi } from '../../../cli/control/api.js';
import { shardOf } from '../../../common/cluster/shard.js';
import { buildInfo } from '../../../common/process/build-info.js';
import { readPush } from '../../../common/wire/push-envelope.js';
import {
  AcceptLevel,
  BroadcastRequest,
  type BroadcastResponse,
  PushManyRequest,
  type PushManyResponse,
  PushRequest,
  type PushResponse,
  PushServiceClient,
  Verdict,
  WaitFor,
} from '../../../proto/gen/longline/v1/push.js';
import { longline as runLongline } from '../../support/cluster/longline-command.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';

/** TTL in ms. */
const KINDS = Object.entries({ 'live-only': 0, durable: 60_000 });

let running: RunningCluster;
let client: PushServiceClient;
const devices = new Map<string, SseClient>();

beforeAll(async () => {
  // So that a verdict does not become UNKNOWN on a busy machine.
  const env = { LONGLINE_ROUTER_WAIT_MS: '10000' };
  running = await RunningCluster.start({ edges: 2, env });
  client = new PushServiceClient(running.cluster.routerAddress, credentials.createInsecure());
  for (let i = 0; i < 40; i++) {
    devices.set(`there-${i}`, await SseClient.open(running.connectUrl(`there-${i}`)));
  }
  await running.untilCaughtUp();
});

afterAll(async () => {
  for (const device of devices.values()) device.close();
  client?.close();
  await running?.stop();
});

function call<Response>(
  start: (done: (error: ServiceError | null, response: Response) => void) => unknown,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    start((error, response) => (error ? reject(error) : resolve(response)));
  });
}

const pushMany = (request: Partial<PushManyRequest>) =>
  call<PushManyResponse>((done) => client.pushMany(PushManyRequest.fromPartial(request), done));
const broadcast = (request: Partial<BroadcastRequest>) =>
  call<BroadcastResponse>((done) => client.broadcast(BroadcastRequest.fromPartial(request), done));
const push = (request: Partial<PushRequest>) =>
  call<PushResponse>((done) => client.push(PushRequest.fromPartial(request), done));

/** The answer to a broadcast that this many clients received, without a failure. */
const onlyWritten = (written: number): BroadcastResponse => ({
  written,
  slow: 0,
  dropped: 0,
  shardsUnknown: 0,
  shardsNotSent: 0,
  notSelected: 0,
  labelsUnknown: 0,
});

function countsOf({ counts }: PushManyResponse): Record<string, number> {
  return Object.fromEntries(counts.map(({ verdict, count }) => [Verdict[verdict], count]));
}

async function everyDeviceHas(data: string): Promise<void> {
  for (const device of devices.values()) {
    await eventually(() => {
      expect(device.events.filter((event) => event.data === data)).toHaveLength(1);
    });
  }
}

describe('PushMany', () => {
  test('counts the verdicts of connected and offline clients', async () => {
    const away = Array.from({ length: 25 }, (_, i) => `away-${i}`);
    const clientIds = [...devices.keys(), ...away];
    const payload = Buffer.from('many');
    const durable = await pushMany({ clientIds, payload });
    expect(countsOf(durable)).toEqual({ VERDICT_WRITTEN: 40, VERDICT_STORED: 25 });
    expect(durable.failed).toBe(0);
    await everyDeviceHas('many');
    const live = await pushMany({ clientIds, payload: Buffer.from('many live'), ttlMs: 0 });
    expect(countsOf(live)).toEqual({ VERDICT_WRITTEN: 40, VERDICT_OFFLINE: 25 });
    await everyDeviceHas('many live');
  });

  test('retried with its idempotency key pushes only to the other clients', async () => {
    const request = { payload: Buffer.from('once'), idempotencyKey: 'k' };
    await pushMany({ ...request, clientIds: ['there-0', 'there-1'] });
    const again = await pushMany({ ...request, clientIds: [...devices.keys()] });
    expect(countsOf(again)).toEqual({ VERDICT_DUPLICATE: 2, VERDICT_WRITTEN: 38 });
    await everyDeviceHas('once');
  });

  test('returns the rejected clientIds and pushes to the others', async () => {
    const result = await pushMany({
      clientIds: ['', 'there-3', 'x'.repeat(257)],
      payload: Buffer.from('y'),
    });
    expect(countsOf(result)).toEqual({ VERDICT_WRITTEN: 1 });
    expect(result.failed).toBe(2);
    expect(result.failures.map(({ failure }) => failure?.code)).toEqual([
      'CLIENT_ID_INVALID',
      'CLIENT_ID_INVALID',
    ]);
  });

  test('begins no push after the caller has cancelled, and counts those', async () => {
    // Devices of one user, so that they share no shard with others.
    const clientIds = Array.from({ length: 10_000 }, (_, i) => `abandoned/${i}`);
    const request = PushManyRequest.fromPartial({ clientIds, payload: Buffer.from('x') });
    const pushUntil = (cancelledAfterMs: number) =>
      new Promise<ServiceError | null>((resolve) => {
        const pushing = client.pushMany(request, resolve);
        setTimeout(() => pushing.cancel(), cancelledAfterMs);
      });
    let waitMs = 5;
    // Too early, the router does not even receive the call; too late, it is done.
    await eventually(async () => {
      waitMs += 20;
      const error = await pushUntil(waitMs);
      expect(error?.code).toBe(status.CANCELLED);
      const abandoned = await running.metric('router', 'longline_router_pushes_abandoned_total');
      expect(abandoned).toBeGreaterThan(0);
    });
  });

  test.each([0, 10_001])('rejects %d clientIds', async (count) => {
    const clientIds = new Array<string>(count).fill('x');
    await expect(pushMany({ clientIds })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });
});

describe('Broadcast', () => {
  test('reaches every connected client once', async () => {
    const payload = Buffer.from('to all');
    const answer = await broadcast({ payload, clientsPerSecond: 100_000 });
    expect(answer).toEqual(onlyWritten(40));
    await everyDeviceHas('to all');
  });

  test('respects the rate that the caller sets', async () => {
    const started = performance.now();
    await broadcast({ payload: Buffer.from('slowly'), clientsPerSecond: 10 });
    // 40 clients at 10 per second; the first batch of shard queries is sent at once.
    expect(performance.now() - started).toBeGreaterThan(3_000);
    await everyDeviceHas('slowly');
  });

  test('stops when the caller cancels', async () => {
    const request = BroadcastRequest.fromPartial({
      payload: Buffer.from('no'),
      clientsPerSecond: 1,
    });
    const error = await new Promise<ServiceError | null>((resolve) => {
      const broadcasting = client.broadcast(request, resolve);
      setTimeout(() => broadcasting.cancel(), 300);
    });
    expect(error?.code).toBe(status.CANCELLED);
    await eventually(async () => {
      expect(await running.metric('router', 'longline_router_shard_queries_in_flight')).toBe(0);
    });
    const reached = [...devices.values()].filter((d) => d.events.some((e) => e.data === 'no'));
    expect(reached.length).toBeLessThan(40);
  });

  test('rejects a rate of 0', async () => {
    await expect(broadcast({ clientsPerSecond: 0 })).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
  });
});

describe('guests', () => {
  /** A device of edge-2 that follows no redirect, connected to edge-1. */
  let guest: MqttDevice;
  let guestId: string;
  /** Clients of the same shard, at its owner. */
  const neighbours: SseClient[] = [];
  const neighbourIds: string[] = [];

  beforeAll(async () => {
    guestId = await running.clientIdOf('edge-2', 'guest');
    const { length: shardCount } = await running.shards();
    for (let i = 0; neighbourIds.length < 2; i++) {
      const clientId = `neighbour-${i}`;
      if (shardOf(clientId, shardCount) !== shardOf(guestId, shardCount)) continue;
      neighbourIds.push(clientId);
      neighbours.push(await SseClient.open(running.connectUrl(clientId)));
    }
    const { port } = new URL(running.cluster.edgeUrl('edge-1'));
    guest = await MqttDevice.connect(Number(port), guestId);
    await guest.subscribe(`push/${guestId}`);
  });

  afterAll(async () => {
    for (const neighbour of neighbours) neighbour.close();
    await guest.close();
  });

  async function expectEachOnce(data: string): Promise<void> {
    await eventually(() => {
      expect(guest.payloads.filter((payload) => payload === data)).toHaveLength(1);
      for (const { events } of neighbours) {
        expect(events.filter((event) => event.data === data)).toHaveLength(1);
      }
    });
    await everyDeviceHas(data);
  }

  test('are reached once by a broadcast, as are the clients at the owner', async () => {
    const answer = await broadcast({ payload: Buffer.from('guests'), clientsPerSecond: 100_000 });
    expect(answer).toEqual(onlyWritten(43));
    await expectEachOnce('guests');
  });

  test.each(KINDS)(
    'are reached once by a %s PushMany, as are the clients at the owner',
    async (kind, ttlMs) => {
      const away = ttlMs === 0 ? 'VERDICT_OFFLINE' : 'VERDICT_STORED';
      const clientIds = [...devices.keys(), ...neighbourIds, guestId, 'nowhere'];
      const many = await pushMany({ clientIds, payload: Buffer.from(`${kind} guests`), ttlMs });
      expect(countsOf(many)).toEqual({ VERDICT_WRITTEN: 43, [away]: 1 });
      await expectEachOnce(`${kind} guests`);
    },
  );
});

test.each(KINDS)('a client that a %s PushMany lists twice gets two pushes', async (kind, ttlMs) => {
  const clientIds = ['there-1', 'there-2', 'there-1'];
  const many = await pushMany({ clientIds, payload: Buffer.from(`${kind} twice`), ttlMs });
  expect(countsOf(many)).toEqual({ VERDICT_WRITTEN: 3 });
  await eventually(() => {
    const { events } = devices.get('there-1')!;
    expect(events.filter(({ data }) => data === `${kind} twice`)).toHaveLength(2);
  });
});

test.each([
  ['a collapse key', { collapseKey: 'k' }],
  ['no answer of edges', { waitFor: WaitFor.WAIT_FOR_STORED }],
  ['a confirmation', { waitFor: WaitFor.WAIT_FOR_ACKED, waitMs: 500 }],
])('a PushMany with %s reaches each client once', async (what, request) => {
  const clientIds = [...devices.keys(), 'away-1'];
  const many = await pushMany({ ...request, clientIds, payload: Buffer.from(what) });
  expect(many.counts.reduce((sum, { count }) => sum + count, 0)).toBe(41);
  expect(many.failed).toBe(0);
  await everyDeviceHas(what);
});

test('a PushMany comes after the durable pushes that its backend has begun before', async () => {
  const clientId = 'there-8';
  const { events } = devices.get(clientId)!;
  // All at once, so that the router reads several of them together.
  await Promise.all(
    Array.from({ length: 30 }, (_, i) => [
      push({ clientId, payload: Buffer.from(`${i} alone`) }),
      pushMany({ clientIds: [clientId, 'there-9'], payload: Buffer.from(`${i} many`) }),
    ]).flat(),
  );
  const order = () => events.map(({ data }) => data).filter((data) => / (alone|many)$/.test(data));
  await eventually(() => expect(order()).toHaveLength(60));
  for (let i = 0; i < 30; i++) {
    expect(order().indexOf(`${i} many`)).toBeGreaterThan(order().indexOf(`${i} alone`));
  }
});

describe('a push that waits', () => {
  const payload = Buffer.from('awaited');

  test('for STORED returns without waiting for the connected client', async () => {
    const clientId = 'there-5';
    const { shard } = await running.lookUp(clientId);
    const subscriber = new Redis(running.redis.url);
    const published: Buffer[] = [];
    subscriber.on('smessageBuffer', (_channel, message: Buffer) => published.push(message));
    await subscriber.ssubscribe((await running.shards())[shard]!.channel);
    const request = { clientId, payload, waitFor: WaitFor.WAIT_FOR_STORED };
    const { verdict, messageId } = await push(request);
    expect(verdict).toBe(Verdict.VERDICT_STORED);
    await eventually(() => expect(devices.get(clientId)!.events.at(-1)!.id).toBe(messageId));
    subscriber.disconnect();
    // No edge was asked for a reply.
    expect(published.map(readPush).filter((read) => read !== undefined)).toEqual([
      expect.objectContaining({ clientId, queryId: 0, replyChannel: '' }),
    ]);
  });

  test('for ACKED returns when the device reconnects with its id', async () => {
    const clientId = 'acking';
    const url = running.connectUrl(clientId);
    const device = await SseClient.open(url);
    const pushing = push({ clientId, payload, waitFor: WaitFor.WAIT_FOR_ACKED, waitMs: 20_000 });
    const { id } = await eventually(() => {
      expect(device.events).toHaveLength(1);
      return device.events[0]!;
    });
    device.close();
    const again = await SseClient.open(url, { headers: { 'last-event-id': id } });
    expect(await pushing).toMatchObject({ verdict: Verdict.VERDICT_ACKED, messageId: id });
    again.close();
  });

  test('for ACKED returns another verdict if it is not confirmed in time', async () => {
    const request = { payload, waitFor: WaitFor.WAIT_FOR_ACKED, waitMs: 2_000 };
    const there = await push({ ...request, clientId: 'there-6' });
    const away = await push({ ...request, clientId: 'away-6' });
    expect([there.verdict, away.verdict]).toEqual([
      Verdict.VERDICT_WRITTEN,
      Verdict.VERDICT_STORED,
    ]);
  });

  test('for ACKED is rejected if it is live', async () => {
    const request = { clientId: 'x', payload, ttlMs: 0, waitFor: WaitFor.WAIT_FOR_ACKED };
    await expect(push(request)).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });
});

describe('accept levels', () => {
  const clientId = 'there-0';
  const payload = Buffer.from('safe');

  test('a durable push is accepted by Redis', async () => {
    expect(await push({ clientId, payload })).toMatchObject({
      verdict: Verdict.VERDICT_WRITTEN,
      acceptLevel: AcceptLevel.ACCEPT_LEVEL_ACCEPTED,
    });
  });

  test('a live push has no accept level', async () => {
    expect(await push({ clientId, payload, ttlMs: 0 })).toMatchObject({
      acceptLevel: AcceptLevel.ACCEPT_LEVEL_UNSPECIFIED,
    });
  });

  test('fsynced is rejected if Redis does not sync each write', async () => {
    const acceptLevel = AcceptLevel.ACCEPT_LEVEL_FSYNCED;
    await expect(push({ clientId, payload, acceptLevel })).rejects.toMatchObject({
      code: status.FAILED_PRECONDITION,
      details: expect.stringMatching(
        /^ACCEPT_LEVEL_UNAVAILABLE: append(only is no|fsync is everysec)/,
      ),
    });
  });

  test('without a replica, replicated is UNKNOWN with the level that was confirmed', async () => {
    const acceptLevel = AcceptLevel.ACCEPT_LEVEL_REPLICATED;
    expect(await push({ clientId, payload, acceptLevel, waitMs: 2_000 })).toMatchObject({
      verdict: Verdict.VERDICT_UNKNOWN,
      messageId: expect.stringMatching(/^\d+-\d+$/),
      acceptLevel: AcceptLevel.ACCEPT_LEVEL_ACCEPTED,
    });
  });
});

describe('the command line', () => {
  const longline = (...args: string[]) => runLongline(running, ...args);

  test('push exits with 0 when what it waited for has happened', async () => {
    const written = await longline('push', 'there-7', 'x', '--json');
    expect(written).toMatchObject({ exit: 0, stderr: '' });
    expect(JSON.parse(written.stdout)).toMatchObject({
      verdict: 'WRITTEN',
      acceptLevel: 'accepted',
    });
    const away = ['push', 'away-7', 'x', '--wait', '200'];
    expect(await longline(...away)).toMatchObject({ exit: 1 });
    expect(await longline(...away, '--wait-for', 'stored')).toMatchObject({ exit: 0 });
    expect(await longline(...away, '--wait-for', 'acked')).toMatchObject({ exit: 1 });
  });

  test('push requests an accept level', async () => {
    const fsynced = await longline('push', 'there-7', 'x', '--accept-level', 'fsynced');
    expect(fsynced).toMatchObject({ exit: 2, stdout: '' });
    expect(fsynced.stderr).toMatch(/^longline: ACCEPT_LEVEL_UNAVAILABLE: /);
    const replicated = ['push', 'there-7', 'x', '--accept-level', 'replicated:1', '--wait', '2000'];
    expect((await longline(...replicated)).stdout).toMatch(/^UNKNOWN {2}\d/);
  });

  test('broadcast prints the counts', async () => {
    const sent = await longline('broadcast', 'from a shell', '--rate', '10000', '--json');
    expect(sent).toMatchObject({ exit: 0, stderr: '' });
    expect(JSON.parse(sent.stdout)).toMatchObject({ written: 40, shardsUnknown: 0 });
    await everyDeviceHas('from a shell');
    const short = await longline('broadcast', 'x', '--rate', '1', '--deadline', '2s');
    expect(short).toMatchObject({ exit: 1, stderr: '' });
    expect(short.stdout).toMatch(
      /written to \d+ clients?, 0 slow clients\nnot sent to [\d,]+ shards/,
    );
  });

  test('presence and disconnect', async () => {
    const device = await SseClient.open(running.connectUrl('found'));
    const found = await longline('presence', 'found', '--json');
    expect(found.exit).toBe(0);
    expect(JSON.parse(found.stdout)).toMatchObject({
      clientId: 'found',
      connections: [{ protocol: 'sse', guest: false }],
      complete: true,
    });
    expect(await longline('disconnect', 'found')).toEqual({
      exit: 0,
      stdout: 'closed 1 connection\n',
      stderr: '',
    });
    expect(await longline('presence', 'found')).toMatchObject({
      exit: 1,
      stdout: 'not connected\n',
    });
    expect(await longline('disconnect', 'found')).toMatchObject({ exit: 1 });
    expect((await longline('presence', '')).stderr).toMatch(/^longline: CLIENT_ID_INVALID: /);
    device.close();
  });

  test('status takes control from the environment and shows the build', async () => {
    expect((await longline('status')).stdout).toContain(`version ${buildInfo.version}`);
    const labels = { version: buildInfo.version, node: buildInfo.node };
    expect(await running.metric('edge-1', 'longline_build_info', labels)).toBe(1);
  });
});

describe('HTTP for backends', () => {
  const post = async (path: string, body: object) => {
    const headers = { 'content-type': 'application/json' };
    const options = { method: 'POST', headers, body: JSON.stringify(body) };
    return (await fetch(running.cluster.pushUrl() + path, options)).json();
  };

  test('has the verdicts and counts of gRPC', async () => {
    const clientIds = [...devices.keys(), 'away', ''];
    const payload = { over: 'HTTP' };
    expect(
      await post('/v1/push:many', { clientIds, payload, ttlMs: 0, deadlineMs: 9_000 }),
    ).toEqual({
      counts: { WRITTEN: 40, OFFLINE: 1 },
      failed: 1,
      failures: [{ clientId: '', error: expect.objectContaining({ code: 'CLIENT_ID_INVALID' }) }],
      unknownClientIds: [],
    });
    await everyDeviceHas('{"over":"HTTP"}');
    const told = { payloadText: 'told over HTTP', clientsPerSecond: 10_000 };
    expect(await post('/v1/broadcast', told)).toMatchObject({ written: 40, shardsUnknown: 0 });
    await everyDeviceHas('told over HTTP');
    expect(await post('/v1/presence', { clientId: 'there-1' })).toMatchObject({
      connections: [{ protocol: 'sse', guest: false }],
      complete: true,
    });
    const device = await SseClient.open(running.connectUrl('http-found'));
    expect(await post('/v1/disconnect', { clientId: 'http-found' })).toEqual({
      closed: 1,
      complete: true,
    });
    device.close();
    const acked = { clientId: 'there-2', payload: 1, waitFor: 'acked', waitMs: 2_000 };
    expect(await post('/v1/push', acked)).toEqual({
      verdict: 'WRITTEN',
      messageId: expect.stringMatching(/^\d+-\d+$/),
      acceptLevel: 'accepted',
    });
  });
});

test('the ledger has the pushes, and balances', async () => {
  await running.push.push('ledger', 'kept', {});
  const api = controlApi(running.cluster.controlUrl);
  await eventually(async () => {
    const shards = await api.shardLedgers();
    const found = shards.find(({ shard }) => shard === shardOf('ledger', 4_096));
    expect(found).toMatchObject({ accepted: 1, waiting: 1, lost: 0, before: 0 });
    const { accepted, waiting, confirmed, expired, evicted, ...rest } = await api.ledger();
    expect(rest).toMatchObject({ lost: 0, before: 0, differences: [], routers: 1, edges: 2 });
    expect(waiting + confirmed + expired + evicted + rest.collapsed + rest.skipped).toBe(accepted);
  }, 60_000);
  const { stdout } = await runLongline(running, 'ledger');
  expect(stdout).toMatch(/^pushes +number +share *\naccepted +[1-9]/);
  expect(stdout).toMatch(/The ledger balances: Redis, 1 router and 2 edges agree\.\n$/);
  const { stdout: byShard } = await runLongline(running, 'ledger', '--shards');
  expect(byShard).toMatch(/^ *shard +accepted/);
});
