/**
 * Goal: a flipped bit in an envelope, a stored push or the assignment is found, counted and never
 * delivered, and no process crashes of it.
 * Method: a cluster on a real Redis, in which the test changes what the cluster has written.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';

const DURABLE = { ttlMs: 600_000 };
const ROLES = ['control', 'router', 'edge-1'];

let running: RunningCluster;
let redis: Redis;
let pids: (number | undefined)[];

beforeAll(async () => {
  const env = { LONGLINE_SHARD_COUNT: '16' };
  running = await RunningCluster.start({ edges: 1, env });
  redis = new Redis(running.redis.url);
  pids = ROLES.map((role) => running.cluster.pid(role));
});

afterAll(async () => {
  redis?.disconnect();
  await running?.stop();
});

function connect(clientId: string, cursor = ''): Promise<SseClient> {
  const headers: Record<string, string> = cursor === '' ? {} : { 'last-event-id': cursor };
  return SseClient.open(running.connectUrl(clientId), { headers });
}

async function channelOf(clientId: string): Promise<string> {
  const { shard } = await running.lookUp(clientId);
  return (await running.shards())[shard]!.channel;
}

const edgeMetric = (metric: string, labels = {}) => running.metric('edge-1', metric, labels);
const events = ({ events }: SseClient) => events.map(({ event, data }) => `${event} ${data}`);

/** Replaces the entries of an inbox by copies with the same ids, changed by `change`. */
async function rewriteInbox(
  clientId: string,
  change: (fields: Buffer[], at: number) => Buffer[],
): Promise<void> {
  const key = `${await channelOf(clientId)}:in:${clientId}`;
  const entries = (await redis.xrangeBuffer(key, '-', '+')) as [Buffer, Buffer[]][];
  const ttlMs = await redis.pttl(key);
  await redis.del(key);
  for (const [at, [id, fields]] of entries.entries()) {
    await redis.xadd(key, id.toString(), ...change(fields, at));
  }
  await redis.pexpire(key, ttlMs);
}

function flipped(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3]! ^= 1 << (bit & 7);
  return copy;
}

test('a corrupt entry of an inbox leaves it with reset, and the others are delivered', async () => {
  for (const payload of ['one', 'two', 'three']) await running.push.push('entry', payload, DURABLE);
  await rewriteInbox('entry', (fields, at) =>
    at === 1 ? fields.map((field, i) => (i === 1 ? flipped(field, 0) : field)) : fields,
  );
  const client = await connect('entry');
  await eventually(() => events(client).length === 3);
  expect(events(client)).toEqual(['reset {}', 'message one', 'message three']);
  await eventually(async () => {
    const skipped = await edgeMetric('longline_edge_pushes_skipped_total', { reason: 'corrupt' });
    expect(skipped).toBe(1);
  });
  client.close();
  // It is gone: the next connect finds nothing wrong.
  const again = await connect('entry', client.events.at(-1)!.id);
  await running.push.push('entry', 'four', DURABLE);
  await eventually(() => events(again).length === 1);
  expect(events(again)).toEqual(['message four']);
  again.close();
  await eventually(async () => {
    const found = (await running.events()).find(({ type }) => type === 'push-skipped');
    expect(found).toMatchObject({ clientId: 'entry', reason: 'corrupt' });
  });
});

test('entries and a hash that make no sense stop neither pushes nor connects', async () => {
  for (const payload of ['one', 'two']) await running.push.push('nonsense', payload, DURABLE);
  const ack = `${await channelOf('nonsense')}:ack:nonsense`;
  await rewriteInbox('nonsense', () => [Buffer.from('p'), Buffer.from('garbage')]);
  await redis.hset(ack, { last: 'x', held: 'x', floor: 'x', due: 'x', gone: 'x', acked: 'x' });
  const { verdict } = await running.push.push('nonsense', 'three', DURABLE);
  expect(verdict).toBe('STORED');
  const client = await connect('nonsense');
  await eventually(() => events(client).includes('message three'));
  expect(events(client).filter((event) => event.startsWith('message'))).toEqual(['message three']);
  client.close();
});

test('an envelope with any bit flipped is dropped and counted, and the connection goes on', async () => {
  const clientId = 'envelope';
  const channel = await channelOf(clientId);
  const subscriber = new Redis(running.redis.url);
  const seen: Buffer[] = [];
  await subscriber.ssubscribe(channel);
  subscriber.on('smessageBuffer', (_, message: Buffer) => seen.push(message));
  const client = await connect(clientId);
  await running.push.push(clientId, 'a durable push', DURABLE);
  await eventually(() => events(client).length === 1);
  const envelope = seen.find((message) => message.includes('a durable push'))!;
  seen.length = 0;
  // The same push, as if it were a later one, with each bit flipped in turn.
  const bits = Array.from({ length: 8 * envelope.length }, (_, bit) => bit);
  await Promise.all(bits.map((bit) => redis.spublish(channel, flipped(envelope, bit))));
  await eventually(() => seen.length >= bits.length);
  await running.push.push(clientId, 'the next', DURABLE);
  await eventually(() => events(client).includes('message the next'));
  expect(events(client)).toEqual(['message a durable push', 'message the next']);
  expect(await edgeMetric('longline_edge_envelopes_malformed_total')).toBe(bits.length);
  client.close();
  subscriber.disconnect();
});

test('a push whose envelope was corrupt is read from the inbox', async () => {
  const clientId = 'read';
  const channel = await channelOf(clientId);
  const client = await connect(clientId);
  await running.push.push(clientId, 'first', DURABLE);
  await eventually(() => events(client).length === 1);
  // Stored without a notification, as if its envelope was lost; then comes what is left of that.
  const stored = await redis.xrangeBuffer(`${channel}:in:${clientId}`, '-', '+');
  const [, fields] = stored[0] as unknown as [Buffer, Buffer[]];
  const id = await redis.xadd(`${channel}:in:${clientId}`, '*', ...fields);
  await redis.hset(`${channel}:ack:${clientId}`, 'last', id!);
  await redis.spublish(channel, Buffer.from([0x7a, 8, 1, 2, 3, 4, 1, 0, 0, 0, 0]));
  await eventually(() => events(client).length === 2);
  expect(events(client)).toEqual(['message first', 'message first']);
  client.close();
});

test('a corrupt reply on a private channel is dropped and counted', async () => {
  const [channel] = (await redis.call('PUBSUB', 'SHARDCHANNELS', '*:router:*')) as string[];
  expect(channel).toBeDefined();
  const garbage = Buffer.from([0x7a, 8, 0, 0, 0, 0, 2, 0, 0, 0, 0x0a, 0x00]);
  for (let i = 0; i < 100; i++) await redis.spublish(channel!, garbage);
  await eventually(async () => {
    const counted = await running.metric(
      'router',
      'longline_redis_private_envelopes_malformed_total',
    );
    expect(counted).toBe(100);
  });
});

test('a corrupt assignment is replaced by the one that control knows', async () => {
  const read = () => redis.hgetBuffer('ll:assignment', 'table');
  const before = await running.view();
  const owners = (await running.shards()).map(({ owner }) => owner);
  const table = (await read())!;
  // Another owner of a shard: an assignment as valid as the right one.
  for (const bit of [8 * (table.length - 8), 8 * table.length - 1, 100]) {
    const corrupt = flipped((await read())!, bit);
    await redis.hset('ll:assignment', 'table', corrupt);
    await eventually(async () => {
      expect((await read())!.equals(corrupt)).toBe(false);
    });
  }
  await running.untilReady();
  expect((await running.shards()).map(({ owner }) => owner)).toEqual(owners);
  const after = await running.view();
  expect(after.position.incarnation).toBeGreaterThan(before.position.incarnation);
  expect(
    await running.metric('control', 'longline_control_invalid_assignments_total'),
  ).toBeGreaterThan(2);
});

test('no process has ended', () => {
  expect(ROLES.map((role) => running.cluster.pid(role))).toEqual(pids);
});
