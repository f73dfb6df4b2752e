/**
 * Goal: the verdict of a push is correct, and a device receives all its stored pushes once and in
 * order. Method: three edges, one router and one control as processes on a real Redis; devices use
 * HTTP, backends gRPC. Every test has its own clientIds.
 */
import { status } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { controlApi } from '../../../cli/control/api.js';
import { shardOf } from '../../../common/cluster/shard.js';
import { WhenSlow } from '../../../proto/gen/longline/v1/push.js';
import { LIVE, pushRequest, verdictName } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import {
  type ReceivedEvent,
  SseClient,
  type SseOptions,
} from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';

const SHARD_COUNT = 4096;
const MIB = 1024 * 1024;

let running: RunningCluster;
const opened: SseClient[] = [];

beforeAll(async () => {
  running = await RunningCluster.start({ edges: 3 });
});

afterAll(() => running?.stop());

afterEach(() => {
  for (const client of opened.splice(0)) client.close();
});

async function connect(clientId: string, options: SseOptions = {}, query = '') {
  const client = await SseClient.open(running.connectUrl(clientId) + query, options);
  opened.push(client);
  return client;
}

/** Disconnects a client. Resolves when presence no longer lists it. */
async function disconnect(clientId: string, client: SseClient) {
  client.close();
  await untilOffline(clientId);
}

function untilOffline(clientId: string) {
  return eventually(async () => {
    const { connections, complete } = await running.push.presence(clientId);
    return complete && connections.length === 0;
  });
}

/** Connects and returns the backlog: all events before a push that is sent after the connect. */
async function connectAndCatchUp(clientId: string, options: SseOptions = {}, query = '') {
  const client = await connect(clientId, options, query);
  // A durable push is delivered after the backlog.
  await running.push.push(clientId, 'the end');
  await eventually(() => client.data.at(-1) === 'the end');
  return client.events.slice(0, -1);
}

async function store(clientId: string, ...payloads: string[]): Promise<string[]> {
  const ids: string[] = [];
  for (const payload of payloads) {
    const { verdict, messageId } = await running.push.push(clientId, payload);
    expect(verdict).toBe('STORED');
    ids.push(messageId);
  }
  return ids;
}

describe('shards', () => {
  test('each has exactly one subscriber', async () => {
    const redis = new Redis(running.redis.url);
    try {
      const channels = (await redis.call('PUBSUB', 'SHARDCHANNELS', 'll:*')) as string[];
      expect(channels).toHaveLength(SHARD_COUNT);
      const numbers = (await redis.call('PUBSUB', 'SHARDNUMSUB', ...channels)) as unknown[];
      const counts = numbers.filter((_, i) => i % 2 === 1);
      expect(new Set(counts)).toEqual(new Set([1]));
    } finally {
      redis.disconnect();
    }
  });

  test('the shares of the edges are disjoint, complete, and within 5 % of each other', async () => {
    const edges = await running.edges();
    expect(edges.map(({ id, state }) => [id, state])).toEqual([
      ['edge-1', 'alive'],
      ['edge-2', 'alive'],
      ['edge-3', 'alive'],
    ]);
    const shares: number[][] = [];
    for (const { id } of edges) {
      const answer = await fetch(`${running.cluster.controlUrl}/v1/edges/${id}`);
      shares.push(((await answer.json()) as { shards: number[] }).shards);
    }
    expect(shares.map((share) => share.length)).toEqual(edges.map((edge) => edge.shardsOwned));
    expect(edges.map((edge) => edge.shardsSubscribed)).toEqual(
      edges.map((edge) => edge.shardsOwned),
    );
    expect(new Set(shares.flat()).size).toBe(SHARD_COUNT);
    expect(shares.flat()).toHaveLength(SHARD_COUNT);
    const sizes = shares.map((share) => share.length);
    expect(Math.max(...sizes) / Math.min(...sizes)).toBeLessThanOrEqual(1.05);
  });
});

describe('a live push', () => {
  test('to a client of each edge arrives and is WRITTEN, without an id', async () => {
    for (const edgeId of ['edge-1', 'edge-2', 'edge-3']) {
      const clientId = await running.clientIdOf(edgeId, 'live');
      const client = await connect(clientId);
      expect(new URL(client.url).origin).toBe(running.cluster.edgeUrl(edgeId));
      const pushed = await running.push.push(clientId, `to ${edgeId}`, LIVE);
      expect(pushed).toEqual({ verdict: 'WRITTEN', messageId: '' });
      expect(await client.until(1)).toEqual([{ event: 'message', id: '', data: `to ${edgeId}` }]);
    }
  });

  test('to an offline client is OFFLINE and discarded', async () => {
    const pushed = await running.push.push('live-offline', 'lost', LIVE);
    expect(pushed).toEqual({ verdict: 'OFFLINE', messageId: '' });
    expect(await connectAndCatchUp('live-offline')).toEqual([]);
  });
});

describe('a durable push', () => {
  test('to an offline client is STORED, and all are delivered in order when it connects', async () => {
    const payloads = Array.from({ length: 100 }, (_, i) => `push ${i}`);
    const ids = await store('durable-away', ...payloads);
    const client = await connect('durable-away');
    const events = await client.until(100);
    expect(events).toEqual(payloads.map((data, i) => ({ event: 'message', id: ids[i], data })));
  });

  test('to a connected client is WRITTEN with its id', async () => {
    const client = await connect('durable-here');
    const ids: string[] = [];
    for (const payload of ['one', 'two']) {
      await eventually(async () => {
        // A client that is still catching up gives STORED, and receives the push from its inbox.
        const { verdict, messageId } = await running.push.push('durable-here', payload);
        ids.push(messageId);
        return verdict === 'WRITTEN';
      });
    }
    await client.until(ids.length);
    expect(client.ids).toEqual(ids);
  });

  test('is not delivered after its TTL', async () => {
    await running.push.push('durable-ttl', 'short', { ttlMs: 1 });
    await running.push.push('durable-ttl', 'long', { ttlMs: 60_000 });
    const events = await connectAndCatchUp('durable-ttl');
    expect(events.map(({ data }) => data)).toEqual(['long']);
  });

  test('with a known idempotency key is a DUPLICATE with the first id', async () => {
    const options = { idempotencyKey: 'order-4711' };
    const first = await running.push.push('durable-idem', 'once', options);
    const again = await running.push.push('durable-idem', 'once', options);
    expect(first.verdict).toBe('STORED');
    expect(again).toEqual({ verdict: 'DUPLICATE', messageId: first.messageId });
    const events = await connectAndCatchUp('durable-idem');
    expect(events).toEqual([{ event: 'message', id: first.messageId, data: 'once' }]);
    const later = await running.push.push('durable-idem', 'once', options);
    expect(later).toEqual({ verdict: 'DUPLICATE', messageId: first.messageId });
  });
});

const resetsOf = (events: readonly ReceivedEvent[]) =>
  events.filter(({ event }) => event === 'reset');

describe('a client that reconnects', () => {
  test.each([
    ['header', (id: string) => ({ options: { headers: { 'last-event-id': id } }, query: '' })],
    ['query', (id: string) => ({ options: {}, query: `&lastEventId=${id}` })],
  ])('with an id in the %s receives exactly the pushes after it', async (place, optionsFor) => {
    const clientId = `resume-${place}`;
    const ids = await store(clientId, 'a', 'b', 'c', 'd');
    const { options, query } = optionsFor(ids[1]!);
    const events = await connectAndCatchUp(clientId, options, query);
    expect(events.map(({ event, data }) => [event, data])).toEqual([
      ['message', 'c'],
      ['message', 'd'],
    ]);
  });

  test('with the newest id receives nothing', async () => {
    const ids = await store('resume-newest', 'a', 'b');
    const headers = { 'last-event-id': ids[1]! };
    expect(await connectAndCatchUp('resume-newest', { headers })).toEqual([]);
  });

  test('without an id receives everything that it has not confirmed', async () => {
    await store('resume-none', 'a', 'b');
    await disconnect('resume-none', await connect('resume-none'));
    const events = await connectAndCatchUp('resume-none');
    expect(events.map(({ data }) => data)).toEqual(['a', 'b']);
  });

  test.each([
    ['malformed', () => 'garbage'],
    ['malformed and full of blanks', () => '1-1 \t 2-2'],
    ['too long', () => `1-${'0'.repeat(4_000)}`],
    ['of the future', () => '99999999999999-0'],
    ['of the distant past', () => '1-0'],
    ["another client's", (foreign: string) => foreign],
  ])('with an id which is %s receives a reset and everything', async (kind, idFrom) => {
    const clientId = `reset-${kind}`;
    const [a] = await store(clientId, 'a');
    const [foreign] = await store(`${clientId}-other`, 'x');
    const [b] = await store(clientId, 'b');
    const headers = { 'last-event-id': idFrom(foreign!) };
    const events = await connectAndCatchUp(clientId, { headers });
    const stored = [
      { event: 'message', id: a, data: 'a' },
      { event: 'message', id: b, data: 'b' },
    ];
    expect(events).toEqual([{ event: 'reset', id: expect.any(String), data: '{}' }, ...stored]);
    const position = { 'last-event-id': events[0]!.id };
    const again = await connectAndCatchUp(clientId, { headers: position });
    expect(again.slice(0, stored.length)).toEqual(stored);
  });

  /** Resolves with the id of the reset that the client receives first. */
  const resetOf = async (clientId: string, lastEventId: string) => {
    const client = await connect(clientId, { headers: { 'last-event-id': lastEventId } });
    const [first] = await client.until(1);
    expect(first).toMatchObject({ event: 'reset', data: '{}' });
    await disconnect(clientId, client);
    return first!.id;
  };

  test('receives one reset and not one per reconnect, if Redis knows nothing of it', async () => {
    const position = await resetOf('reset-once', '1795386373482-0');
    const headers = { 'last-event-id': position };
    expect(resetsOf(await connectAndCatchUp('reset-once', { headers }))).toEqual([]);
  });

  test('receives a reset if a push after the position of an earlier reset has expired', async () => {
    const position = await resetOf('reset-twice', '1795386373482-0');
    await running.push.push('reset-twice', 'short', { ttlMs: 1 });
    const headers = { 'last-event-id': await resetOf('reset-twice', position) };
    expect(resetsOf(await connectAndCatchUp('reset-twice', { headers }))).toEqual([]);
  });

  test('receives one reset for a push that has expired behind one with a longer TTL', async () => {
    const clientId = 'reset-behind';
    const [first] = await store(clientId, 'a');
    await running.push.push(clientId, 'short', { ttlMs: 1 });
    const headers = { 'last-event-id': first! };
    const [reset] = await (await connect(clientId, { headers })).until(1);
    expect(reset!.event).toBe('reset');
    const position = { 'last-event-id': reset!.id };
    expect(resetsOf(await connectAndCatchUp(clientId, { headers: position }))).toEqual([]);
  });

  test('receives a reset if a push after its id has expired', async () => {
    const [first] = await store('reset-expired', 'a');
    await running.push.push('reset-expired', 'short', { ttlMs: 1 });
    const [last] = await store('reset-expired', 'b');
    const client = await connect('reset-expired', { headers: { 'last-event-id': first! } });
    const events = await client.until(2);
    expect(events).toEqual([
      { event: 'reset', id: expect.any(String), data: '{}' },
      { event: 'message', id: last, data: 'b' },
    ]);
  });
});

describe('a payload', () => {
  test('of several lines arrives with each line end as LF', async () => {
    const client = await connect('payload-lines');
    await running.push.push('payload-lines', 'a\nb\r\nc\rd\n', LIVE);
    expect((await client.until(1))[0]!.data).toBe('a\nb\nc\nd\n');
  });

  test('that looks like fields of the stream arrives as data', async () => {
    const client = await connect('payload-fields');
    const payload = 'x\n\nevent: reset\nid: 1-1\nretry: 1\n\n: y';
    await running.push.push('payload-fields', payload, LIVE);
    expect(await client.until(1)).toEqual([{ event: 'message', id: '', data: payload }]);
    expect(client.retryMs).toBe(1_000);
  });

  test('without bytes arrives as an event with empty data', async () => {
    const client = await connect('payload-empty');
    await running.push.push('payload-empty', '', LIVE);
    expect(await client.until(1)).toEqual([{ event: 'message', id: '', data: '' }]);
  });

  test('that is not UTF-8 arrives as a base64 event, stored or live', async () => {
    const payload = Buffer.from([0xff, 0x0a, 0x00, 0xc3, 0x28]);
    const { verdict } = await running.push.push('payload-binary', payload);
    expect(verdict).toBe('STORED');
    const client = await connect('payload-binary');
    await client.until(1);
    await running.push.push('payload-binary', payload, LIVE);
    const events = await client.until(2);
    expect(events.map(({ event, data }) => [event, data])).toEqual([
      ['base64', payload.toString('base64')],
      ['base64', payload.toString('base64')],
    ]);
  });

  test('of up to 1 MiB arrives; one byte more is rejected', async () => {
    const client = await connect('payload-large');
    for (const size of [MIB - 1, MIB]) {
      const { verdict } = await running.push.push('payload-large', Buffer.alloc(size, 'x'), LIVE);
      expect(verdict).toBe('WRITTEN');
    }
    const events = await client.until(2);
    expect(events.map(({ data }) => data.length)).toEqual([MIB - 1, MIB]);
    await expect(
      running.push.push('payload-large', Buffer.alloc(MIB + 1, 'x'), LIVE),
    ).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining('PAYLOAD_TOO_LARGE'),
    });
  });
});

test.each([
  ['empty', '', {}, 'CLIENT_ID_INVALID'],
  ['257 bytes long', 'x'.repeat(257), {}, 'CLIENT_ID_INVALID'],
  ['with a control character', 'a\u0000b', {}, 'CLIENT_ID_INVALID'],
  ['with a TTL over the maximum', 'a', { ttlMs: 0xffffffff }, 'TTL_TOO_LONG'],
  ['with a key of 129 bytes', 'a', { idempotencyKey: 'k'.repeat(129) }, 'IDEMPOTENCY_KEY_INVALID'],
  ['live-only with a key', 'a', { ...LIVE, idempotencyKey: 'k' }, 'IDEMPOTENCY_KEY_INVALID'],
  ['durable and to be dropped', 'a', { whenSlow: WhenSlow.WHEN_SLOW_DROP }, 'when_slow drop'],
  [
    'live-only and to be kept',
    'a',
    { ...LIVE, whenSlow: WhenSlow.WHEN_SLOW_KEEP },
    'when_slow keep',
  ],
  ['with an unknown when_slow', 'a', { whenSlow: 17 as WhenSlow }, 'when_slow 17'],
])('an invalid push is rejected: clientId or option %s', async (_, clientId, options, code) => {
  await expect(running.push.push(clientId, 'x', options)).rejects.toMatchObject({
    code: status.INVALID_ARGUMENT,
    details: expect.stringContaining(code),
  });
});

test('a clientId may be 256 bytes long and have any printable character', async () => {
  for (const clientId of ['ü'.repeat(128), '..', 'a/?b#c&d=e%20+', '{x}:*', '日本語 🦈']) {
    const client = await connect(clientId);
    const { verdict } = await running.push.push(clientId, clientId, LIVE);
    expect([clientId, verdict]).toEqual([clientId, 'WRITTEN']);
    expect((await client.until(1))[0]!.data).toBe(clientId);
  }
});

test('PushStream answers thousands of pushes by correlation id, including invalid ones', async () => {
  const clients = await Promise.all(Array.from({ length: 10 }, (_, i) => connect(`stream-${i}`)));
  const count = 4_000;
  const items = Array.from({ length: count }, (_, i) => {
    const kind = i % 100;
    // Most are for connected clients, some for an offline client, some are rejected.
    const clientId = kind === 0 ? '' : kind === 1 ? 'stream-offline' : `stream-${i % 10}`;
    return { correlationId: `${i + 1}`, push: pushRequest(clientId, `${i}`, LIVE) };
  });
  const frames: (typeof items)[] = [];
  for (let i = 0; i < count; i += 50) frames.push(items.slice(i, i + 50));
  const results = await running.push.stream(frames);
  expect(results).toHaveLength(count);
  const byId = new Map(results.map(({ correlationId, outcome }) => [correlationId, outcome]));
  expect(byId.size).toBe(count);
  const summary = new Map<string, number>();
  for (const { correlationId, push } of items) {
    const outcome = byId.get(correlationId)!;
    const result =
      outcome.$case === 'push' ? verdictName(outcome.value.verdict) : outcome.value.code;
    const key = `${push.clientId.replace(/\d+$/, 'n')}: ${result}`;
    summary.set(key, (summary.get(key) ?? 0) + 1);
  }
  expect(Object.fromEntries(summary)).toEqual({
    ': CLIENT_ID_INVALID': count / 100,
    'stream-offline: OFFLINE': count / 100,
    'stream-n: WRITTEN': (count / 100) * 98,
  });
  for (const [n, client] of clients.entries()) {
    const sent = items.filter(({ push }) => push.clientId === `stream-${n}`);
    await client.until(sent.length);
    expect(client.data).toEqual(sent.map(({ push }) => push.payload.toString()));
  }
});

test('live and durable pushes of a stream to one client arrive in the order of their sending', async () => {
  const client = await connect('mixed');
  // From then on, a durable push is written as it arrives.
  let before = 0;
  await eventually(async () => {
    before++;
    return (await running.push.push('mixed', 'first')).verdict === 'WRITTEN';
  });
  const items = Array.from({ length: 600 }, (_, i) => {
    const clientId = i % 5 === 0 ? `mixed-${i}` : 'mixed';
    const options = i % 3 === 0 || i % 7 === 0 ? LIVE : {};
    return { correlationId: `${i + 1}`, push: pushRequest(clientId, `${i}`, options) };
  });
  await running.push.stream([items.slice(0, 200), items.slice(200)]);
  const sent = items.filter(({ push }) => push.clientId === 'mixed');
  await client.until(before + sent.length);
  expect(client.data.slice(before)).toEqual(sent.map(({ push }) => push.payload.toString()));
});

describe('a connected client', () => {
  test('is listed by presence until it disconnects', async () => {
    const before = Date.now();
    const clientId = await running.clientIdOf('edge-2', 'presence');
    const client = await connect(clientId);
    const { connections, complete } = await running.push.presence(clientId);
    expect(complete).toBe(true);
    const { localPort } = client.response.socket;
    expect(connections).toEqual([
      {
        clientId,
        edgeId: 'edge-2',
        connectedAtMs: expect.any(Number),
        connectedForMs: expect.any(Number),
        protocol: 'sse',
        remoteAddress: `127.0.0.1:${localPort}`,
        guest: false,
        labels: '',
      },
    ]);
    // Comparable, because it is the clock of one machine.
    expect(connections[0]!.connectedAtMs).toBeGreaterThanOrEqual(before);
    client.close();
    await untilOffline(clientId);
  });

  test('is disconnected by a backend, and counted', async () => {
    const clientId = await running.clientIdOf('edge-3', 'disconnect');
    const reason = { reason: 'disconnected' };
    const counter = 'longline_edge_connections_closed_total';
    const before = await running.metric('edge-3', counter, reason);
    const client = await connect(clientId);
    expect(await running.push.disconnect(clientId)).toEqual({ closed: 1, complete: true });
    await client.ended;
    expect(await running.push.disconnect(clientId)).toEqual({ closed: 0, complete: true });
    expect(await running.metric('edge-3', counter, reason)).toBe(before + 1);
  });

  test('is described by control: shard, tag, owner and connections', async () => {
    const clientId = await running.clientIdOf('edge-1', 'explain');
    const api = controlApi(running.cluster.controlUrl);
    const shard = shardOf(clientId, SHARD_COUNT);
    const { channel } = (await running.shards())[shard]!;
    const place = { clientId, shard, channel, owner: 'edge-1', complete: true };
    expect(await api.client(clientId)).toMatchObject({ ...place, connections: [] });
    await connect(clientId);
    expect(await api.client(clientId)).toMatchObject({
      ...place,
      ownerUrl: running.cluster.edgeUrl('edge-1'),
      connections: [{ edgeId: 'edge-1', protocol: 'sse', guest: false }],
    });
  });

  test('is counted by control', async () => {
    const clients = await Promise.all(
      Array.from({ length: 30 }, (_, i) => connect(`counted-${i}`)),
    );
    await eventually(async () => (await running.view()).connections === clients.length);
    const { guests, shardsUnowned, edgesAlive } = await running.view();
    expect({ guests, shardsUnowned, edgesAlive }).toEqual({
      guests: 0,
      shardsUnowned: 0,
      edgesAlive: 3,
    });
  });
});
