/** Delivery of durable pushes that arrive twice, late, or with a number that was used before. */
import { beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { shardOf } from '../../../common/cluster/shard.js';
import { ShardNames } from '../../../common/cluster/shard-names.js';
import { Metrics } from '../../../common/process/metrics.js';
import { RedisNames } from '../../../common/redis/redis-names.js';
import { Delivery, type DeliveryOptions } from '../../../edge/shards/delivery.js';
import { RedisClocks } from '../../../edge/shards/redis-clocks.js';
import { type Reply, ShardEnvelope } from '../../../proto/gen/longline/v1/envelope.js';
import { eventually } from '../../support/eventually.js';

const SHARD = 0;

let delivered: string[];
let gaps: number;
let losses: [before: number, now: number][];
let replies: number;
let lastReply: Reply['body'];
/** Shards whose messages were counted. */
let rates: number[];
/** The counter of the shard in Redis; undefined while Redis is unreachable. */
let counter: number | undefined;
let delivery: Delivery;
/** A shard that the edge does not serve any more. */
let formerShard: number | undefined;

beforeEach(() => {
  delivered = [];
  gaps = replies = 0;
  losses = [];
  rates = [];
  counter = formerShard = undefined;
  const options = {
    link: {
      isCluster: false,
      execute: async () =>
        counter === undefined
          ? { type: 'unknown', reason: 'Redis is away' }
          : { type: 'done', reply: [`${counter}`] },
    },
    names: new ShardNames(new RedisNames(''), 4),
    redisClocks: new RedisClocks(4),
    shards: {
      owns: (shard: number) => shard !== formerShard,
      ownsBeside: (shard: number, carrier: number) => carrier === SHARD && shard === 1,
      isConfirmed: () => true,
      hasClients: (shard: number) => shard !== formerShard,
    },
    clients: {
      push: (_shard: number, clientId: string, { id }: { id: string }) => {
        delivered.push(id || clientId);
        return 'written';
      },
      broadcast: (
        shards: readonly number[],
        _payload: Buffer,
        _contentType: string,
        onWritten: (shard: number) => void,
      ) => {
        for (const shard of shards) onWritten(shard);
        return { written: shards.length, slow: 0 };
      },
      onGap: () => gaps++,
    },
    replies: {
      add: (_channel: string, { body }: Reply) => {
        replies++;
        lastReply = body;
      },
    },
    rates: { count: (shard: number) => rates.push(shard) },
    lostHistory: {
      onCounterFell: (_shard: number, before: number, now: number) => losses.push([before, now]),
    },
    log: pino({ level: 'silent' }),
    metrics: new Metrics(),
  };
  delivery = new Delivery(options as unknown as DeliveryOptions);
});

function receive(seq: number, id = `${1_000 + seq}-0`, shard = SHARD): void {
  const body = { payload: Buffer.from('p'), contentType: '', ttlMs: 60_000, clientIds: [] };
  const envelope = ShardEnvelope.encode({
    queryId: seq,
    replyChannel: 'lr:{0}:r',
    clientId: 'alice',
    body: { $case: 'push', value: body },
    id,
    seq: `${seq}`,
  });
  delivery.onMessage(shard, Buffer.from(envelope.finish()));
}

test('a push that two masters deliver is processed once, and is no loss', () => {
  for (const seq of [5, 6, 5, 7, 6, 7]) receive(seq);
  expect(delivered).toEqual(['1005-0', '1006-0', '1007-0']);
  expect(replies).toBe(3);
  expect(gaps).toBe(0);
  expect(losses).toEqual([]);
});

test('a number that is assigned to another push is a loss', () => {
  for (const seq of [5, 6, 7]) receive(seq);
  receive(6, '2000-0');
  receive(7, '2001-0');
  expect(losses).toEqual([[7, 6]]);
  expect(gaps).toBe(1);
  expect(delivered).toEqual(['1005-0', '1006-0', '1007-0', '2000-0', '2001-0']);
});

test('a push that a former master delivers late is processed; the counter shows no loss', async () => {
  counter = 7;
  receive(5);
  receive(7);
  receive(6);
  expect(delivered).toEqual(['1005-0', '1007-0', '1006-0']);
  await new Promise(setImmediate);
  expect(losses).toEqual([]);
  expect(gaps).toBe(1);
});

test('a number from long ago makes the counter be read, which shows the loss once', async () => {
  for (let seq = 1; seq <= 100; seq++) receive(seq);
  counter = 2;
  receive(1, '2000-0');
  receive(2, '2001-0');
  delivery.pollShardCounters(0, 1);
  await eventually(() => losses.length > 0);
  await new Promise(setImmediate);
  expect(losses).toEqual([[100, 2]]);
  expect(delivered.slice(-2)).toEqual(['2000-0', '2001-0']);
});

test('a loss makes the counters of shards be read that the edge does not serve any more', async () => {
  const former = SHARD + 1;
  receive(9, '1000-0', former);
  delivery.onLeft(former);
  formerShard = former;
  for (const seq of [5, 6]) receive(seq);
  counter = 4;
  receive(5, '2000-0');
  await eventually(() => losses.length > 1);
  expect(losses).toEqual([
    [6, 5],
    [9, 4],
  ]);
});

function receiveLive(body: ShardEnvelope['body']): void {
  const envelope = { queryId: 1, replyChannel: 'lr:{0}:r', clientId: '', body, id: '', seq: '' };
  delivery.onMessage(SHARD, Buffer.from(ShardEnvelope.encode(envelope).finish()));
}

test('a broadcast is written to those further shards for which its channel may stand', () => {
  const value = { payload: Buffer.from('p'), contentType: '', furtherShards: [1, 2, 9_999] };
  receiveLive({ $case: 'broadcast', value });
  expect(lastReply).toEqual({
    $case: 'broadcast',
    value: { written: 2, slow: 0, furtherShards: [1] },
  });
  expect(rates).toEqual([SHARD, 1]);
});

test('a push to several clients is processed for the same shards, and the reply says for which', () => {
  const clientIds = Array.from({ length: 40 }, (_, i) => `client-${i}`);
  const value = { payload: Buffer.from('p'), contentType: '', ttlMs: 0, clientIds };
  receiveLive({ $case: 'push', value });
  const isProcessed = (clientId: string) => [SHARD, 1].includes(shardOf(clientId, 4));
  expect(delivered).toEqual(clientIds.filter(isProcessed));
  const outcomes = Buffer.from(clientIds.map((clientId) => (isProcessed(clientId) ? 4 : 0)));
  expect(lastReply).toEqual({ $case: 'multiPush', value: { outcomes } });
  expect(rates).toEqual(delivered.map((clientId) => shardOf(clientId, 4)));
});
