/** Delivery of durable pushes that arrive twice, late, or with a number that was used before. */
import { beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { shardOf } from '../../../common/cluster/shard.js';
import { ShardNames } from '../../../common/cluster/shard-names.js';
import { Metrics } from '../../../common/process/metrics.js';
import type { SpanStart } from '../../../common/process/tracing/tracer.js';
import { IdFloor } from '../../../common/redis/identity/id-floor.js';
import { RedisNames } from '../../../common/redis/redis-names.js';
import { Gaps } from '../../../edge/report/gaps.js';
import { NOTHING_TOLD } from '../../../edge/shards/announcements.js';
import { Delivery, type DeliveryOptions } from '../../../edge/shards/delivery.js';
import { OtherEdges } from '../../../edge/shards/other-edges.js';
import { PushTraces } from '../../../edge/shards/push-traces.js';
import { RedisClocks } from '../../../edge/shards/redis-clocks.js';
import { Standing } from '../../../edge/shards/standing.js';
import type { Target } from '../../../edge/shards/targets.js';
import {
  type AnnounceBody,
  type Reply,
  ShardEnvelope,
  type TraceBody,
} from '../../../proto/gen/longline/v1/envelope.js';
import { eventually } from '../../support/eventually.js';

const SHARD = 0;

let delivered: string[];
let gaps: number;
let reported: Gaps;
let losses: [before: number, now: number][];
/** Ids of pushes that Redis was found to have lost. */
let lostPushes: string[];
let replies: number;
let lastReply: Reply['body'];
let lastTimes: Reply['times'];
let spans: SpanStart[];
/** Fields of the last reply about this edge and others. */
let standing: Pick<Reply, 'others' | 'uninvolved' | 'otherEdges'>;
/** Messages on the channels of shards. */
let told: string[];
/** Shards whose messages were counted. */
let rates: number[];
/** The counter of the shard in Redis; undefined while Redis is unreachable. */
let counter: number | undefined;
let delivery: Delivery;
let edges: Standing;
/** A shard that the edge does not serve any more. */
let formerShard: number | undefined;
/** A shard of another edge, which has clients here. */
let guestShard: number | undefined;

beforeEach(() => {
  lastReply = lastTimes = undefined;
  delivered = [];
  reported = new Gaps(new Metrics());
  spans = [];
  gaps = replies = 0;
  losses = [];
  told = [];
  lostPushes = [];
  rates = [];
  counter = formerShard = guestShard = undefined;
  const options = {
    link: {
      idFloor: new IdFloor(),
      isCluster: false,
      subscriber: { masterOf: () => 'redis' },
      // Redis knows none of the pushes.
      executeOn: async () => ({ type: 'done', reply: [0] }),
      execute: async () =>
        counter === undefined
          ? { type: 'unknown', reason: 'Redis is away' }
          : { type: 'done', reply: [`${counter}`] },
    },
    names: new ShardNames(new RedisNames(''), 4),
    redisClocks: new RedisClocks(4),
    shards: {
      owns: (shard: number) => shard !== formerShard && shard !== guestShard,
      ownsBeside: (shard: number, carrier: number) => carrier === SHARD && shard === 1,
      isConfirmed: () => true,
      hasClients: (shard: number) => shard !== formerShard,
      mayHaveClients: (shard: number) => shard !== formerShard,
    },
    clients: {
      push: (_shard: number, clientId: string, { id }: { id: string }) => {
        delivered.push(id || clientId);
        return 'written';
      },
      broadcast: (
        shards: readonly number[],
        { selector }: { selector: string },
        onWritten: (shard: number) => void,
      ) => {
        if (selector === 'invalid') return undefined;
        for (const shard of shards) onWritten(shard);
        return { written: shards.length, slow: 0, dropped: 0, notSelected: 0, labelsUnknown: 0 };
      },
      pushSame: (targets: readonly Target[]) => {
        delivered.push(...targets.map(({ clientId }) => clientId));
        return targets.map(() => 'dropped');
      },
      onGap: () => gaps++,
      onConfirmed: () => {},
      announceAgain: (shard: number) => told.push(`announced again ${shard}`),
    },
    replies: {
      add: (_channel: string, { body, times, others, uninvolved, otherEdges }: Reply) => {
        replies++;
        lastReply = body;
        lastTimes = times;
        standing = { others, uninvolved, otherEdges };
      },
    },
    traces: new PushTraces({
      link: {
        requirements: { clockOf: () => undefined },
        subscriber: { masterOf: () => 'redis' },
      },
      names: new ShardNames(new RedisNames(''), 4),
      tracer: { start: (span) => void spans.push(span), close: async () => {} },
    }),
    rates: { count: (shard: number) => rates.push(shard) },
    gaps: reported,
    lostHistory: {
      onCounterFell: (_shard: number, before: number, now: number) => losses.push([before, now]),
      onPushLost: (_shard: number, id: string) => lostPushes.push(id),
    },
    log: pino({ level: 'silent' }),
    metrics: new Metrics(),
  };
  const { names, shards } = options;
  const announcements = {
    isOwn: (incarnation: string) => incarnation === 'own',
    probe: (shard: number) => told.push(`probe ${shard}`),
    tellHasClients: (shard: number) => told.push(`has clients ${shard}`),
    tellLeft: (shard: number) => told.push(`left ${shard}`),
  };
  const otherEdges = new OtherEdges('edge-1', new Metrics());
  edges = new Standing({
    names,
    shards,
    announcements,
    otherEdges,
  } as unknown as Standing['options']);
  delivery = new Delivery({ ...options, standing: edges } as unknown as DeliveryOptions);
});

/** Fields of a push without a collapse or append key. */
const UNKEYED = { appendTo: '', appendEnd: false, collapsible: false, trace: undefined };
const UNSORTED = { shards: [], clientCounts: [] };

function receive(
  seq: number,
  id = `${1_000 + seq}-0`,
  shard = SHARD,
  trace: TraceBody | undefined = undefined,
): void {
  const body = {
    ...UNKEYED,
    ...UNSORTED,
    payload: Buffer.from('p'),
    contentType: '',
    ttlMs: 60_000,
    whenSlow: 0,
    clientIds: [],
    trace,
  };
  const envelope = ShardEnvelope.encode({
    queryId: seq,
    replyChannel: 'lr:{0}:r',
    clientId: 'alice',
    body: { $case: 'push', value: body },
    id,
    seq: `${seq}`,
    appendOffset: '',
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
  expect(reported.countRecent(performance.now())).toBe(1);
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

test('a loss that later pushes have made up for in the counter shows when the subscription is back', async () => {
  for (const seq of [5, 6]) receive(seq);
  counter = 6;
  delivery.onLost(SHARD);
  delivery.onConfirmed(SHARD);
  counter = 7;
  receive(7);
  delivery.pollShardCounters(0, 1);
  await eventually(() => lostPushes.length > 0);
  expect(lostPushes).toEqual(['1006-0']);
  expect(losses).toEqual([]);
});

test('a loss that the counter shows is told once', async () => {
  for (const seq of [5, 6]) receive(seq);
  counter = 5;
  delivery.onLost(SHARD);
  delivery.onConfirmed(SHARD);
  await eventually(() => losses.length > 0);
  delivery.pollShardCounters(0, 1);
  await new Promise(setImmediate);
  expect(losses).toEqual([[6, 5]]);
  expect(lostPushes).toEqual([]);
});

function receiveLive(body: ShardEnvelope['body']): void {
  const empty = { clientId: '', id: '', seq: '', appendOffset: '' };
  const envelope = { queryId: 1, replyChannel: 'lr:{0}:r', ...empty, body };
  delivery.onMessage(SHARD, Buffer.from(ShardEnvelope.encode(envelope).finish()));
}

test('a broadcast is written to those further shards for which its channel may stand', () => {
  const value = {
    payload: Buffer.from('p'),
    contentType: '',
    furtherShards: [1, 2, 9_999],
    selector: '',
    whenSlow: 0,
  };
  receiveLive({ $case: 'broadcast', value });
  expect(lastReply).toEqual({
    $case: 'broadcast',
    value: {
      written: 2,
      slow: 0,
      dropped: 0,
      notSelected: 0,
      labelsUnknown: 0,
      furtherShards: [1],
    },
  });
  expect(rates).toEqual([SHARD, 1]);
  // Its clients may be on another edge, too.
  announce('a', { hasClients: true }, 1);
  receiveLive({ $case: 'broadcast', value });
  expect(lastReply).toMatchObject({ value: { furtherShards: [] } });
});

test('a broadcast whose selector this version cannot parse gets no reply', () => {
  const value = {
    payload: Buffer.from('p'),
    contentType: '',
    furtherShards: [],
    selector: '',
    whenSlow: 0,
  };
  receiveLive({ $case: 'selectedBroadcast', value: { ...value, selector: 'invalid' } });
  expect(lastReply).toBeUndefined();
  receiveLive({ $case: 'selectedBroadcast', value: { ...value, selector: 'app=ios' } });
  expect(lastReply).toMatchObject({ $case: 'broadcast', value: { written: 1 } });
});

test('a push to several clients is processed for the same shards, and the reply says for which', () => {
  const clientIds = Array.from({ length: 40 }, (_, i) => `client-${i}`);
  const value = {
    ...UNKEYED,
    ...UNSORTED,
    payload: Buffer.from('p'),
    contentType: '',
    ttlMs: 0,
    whenSlow: 0,
    clientIds,
  };
  receiveLive({ $case: 'push', value });
  const isProcessed = (clientId: string) => [SHARD, 1].includes(shardOf(clientId, 4));
  expect(delivered).toEqual(clientIds.filter(isProcessed));
  const outcomes = Buffer.from(clientIds.map((clientId) => (isProcessed(clientId) ? 4 : 0)));
  expect(lastReply).toEqual({ $case: 'multiPush', value: { outcomes, firstIndex: 0 } });
  expect(rates).toEqual(delivered.map((clientId) => shardOf(clientId, 4)));
});

test('one that names the shards of its clients is processed for those, too', () => {
  const value = {
    ...UNKEYED,
    payload: Buffer.from('p'),
    contentType: '',
    ttlMs: 0,
    whenSlow: 0,
    clientIds: ['a', 'b', 'c', 'd', 'e', 'f'],
    shards: [SHARD, 2, 1],
    // More than there are.
    clientCounts: [2, 1, 4],
  };
  receiveLive({ $case: 'push', value });
  expect(delivered).toEqual(['a', 'b', 'd', 'e', 'f']);
  const outcomes = Buffer.from([11, 11, 0, 11, 11, 11]);
  expect(lastReply).toEqual({ $case: 'multiPush', value: { outcomes, firstIndex: 0 } });
  expect(rates).toEqual([]);
});

function receiveStored(ids: string, seq: string, firstIndex = 0, shards = [SHARD]): void {
  const clientIds = ['alice', 'bob', 'carol'];
  const clientCounts = shards.length === 1 ? [3] : shards.map(() => 1);
  const push = { payload: Buffer.from('p'), contentType: '', ttlMs: 60_000, whenSlow: 0 };
  const value = { ...push, clientIds, firstIndex, shards, clientCounts };
  const rest = { queryId: 9, replyChannel: 'lr:{0}:r', clientId: '' };
  const body = { $case: 'storedPush', value } as const;
  const envelope = ShardEnvelope.encode({ ...rest, body, id: ids, seq, appendOffset: '' });
  delivery.onMessage(SHARD, Buffer.from(envelope.finish()));
}

test('a push that is stored for several clients has one number, and an id for each of them', () => {
  receive(5);
  receiveStored('1006-0 - 1006-3', '6', 30);
  receiveStored('1006-0 - 1006-3', '6', 30);
  receive(7);
  expect(delivered).toEqual(['1005-0', '1006-0', '1006-3', '1007-0']);
  expect(gaps).toBe(0);
  expect(replies).toBe(3);
  receiveStored('1009-0 1009-0 1009-0', '9', 30);
  expect(gaps).toBe(1);
  expect(lastReply).toEqual({
    $case: 'multiPush',
    value: { outcomes: Buffer.from([4, 4, 4]), firstIndex: 30 },
  });
});

test('one for several shards has a number of each that is meant, and leaves out those of others', () => {
  receiveStored('1006-0 1006-1 1006-2', '6 7 3', 0, [SHARD, 2, 1]);
  expect(delivered).toEqual(['1006-0', '1006-2']);
  expect(lastReply).toMatchObject({ value: { outcomes: Buffer.from([4, 0, 4]) } });
  receiveStored('1007-0 1007-1 1007-2', '- 8 4', 0, [SHARD, 2, 1]);
  expect(delivered).toEqual(['1006-0', '1006-2', '1007-2']);
  expect(gaps).toBe(0);
  // The copies of its own shard and of another one.
  receiveStored('1006-0 1006-1 1006-2', '6 7 3', 0, [SHARD, 2, 1]);
  expect(replies).toBe(2);
  receiveStored('1008-0 1008-1 1008-2', '7 9 6', 0, [SHARD, 2, 1]);
  expect(gaps).toBe(1);
});

test.each([
  ['', '6'],
  ['- - -', '6'],
  ['1006-0', '6'],
  ['1-0 1-0 1-0 1-0', '6'],
  ['1006-0 - -', '6 7'],
])(
  'one with the ids %j and the numbers %j is malformed, and the inboxes are read',
  (ids, numbers) => {
    receiveStored(ids, numbers);
    expect(delivered).toEqual([]);
    expect(gaps).toBe(1);
  },
);

test('only a push that asks for its times or a span has them', () => {
  receive(1);
  expect(lastTimes).toBeUndefined();
  receive(2, '1002-0', SHARD, { timed: false, traceparent: 'x', tracestate: 'y' });
  expect(lastTimes).toBeUndefined();
  expect(spans).toMatchObject([
    {
      kind: 'consumer',
      parent: { traceparent: 'x', tracestate: 'y' },
      attributes: { 'messaging.message.id': '1002-0', 'longline.outcome': 'written' },
    },
  ]);
  receive(3, '1003-0', SHARD, { timed: true, traceparent: '', tracestate: '' });
  expect(spans).toHaveLength(1);
  // The clock of Redis is not known.
  expect(lastTimes).toMatchObject({ heardAtUs: 0, errorUs: 0 });
  expect(lastTimes!.tookUs).toBeGreaterThanOrEqual(0);
  expect(lastTimes!.tookUs).toBeLessThan(60_000_000);
});

/** An announcement without connections, as an edge publishes it. */
function announce(edgeIncarnation: string, said: Partial<AnnounceBody> = {}, shard = SHARD): void {
  const value = { ...NOTHING_TOLD, edgeIncarnation, ...said };
  const body = { $case: 'announce', value } as const;
  const empty = { replyChannel: '', clientId: '', id: '', seq: '', appendOffset: '' };
  const envelope = ShardEnvelope.encode({ queryId: 0, ...empty, body });
  delivery.onMessage(shard, Buffer.from(envelope.finish()));
}

test('the owner says how many other edges may have clients of the shard', () => {
  announce('a', { hasClients: true });
  announce('b', { hasClients: true });
  announce('own', { hasClients: true });
  receive(1);
  expect(standing).toEqual({ others: 2, uninvolved: false, otherEdges: ['a', 'b'] });
  announce('a', { left: true });
  receive(2);
  expect(standing).toEqual({ others: 1, uninvolved: false, otherEdges: ['b'] });
});

test('the owner hears of other edges from one that leaves, which may have been the owner', () => {
  announce('a', { left: true, otherEdges: ['b', 'own'] });
  receive(1);
  expect(standing).toEqual({ others: 1, uninvolved: false, otherEdges: ['b'] });
});

test('an edge that does not own the shard says whether it may have clients of it', () => {
  formerShard = SHARD;
  announce('a', { hasClients: true });
  receive(1);
  expect(standing).toEqual({ others: 0, uninvolved: true, otherEdges: ['a'] });
});

test('only a probe of another edge is answered, and only with clients', () => {
  for (const edge of ['a', 'own']) announce(edge);
  announce('a', { hasClients: true });
  announce('a', { left: true });
  expect(told).toEqual(['has clients 0']);
  formerShard = SHARD;
  announce('a');
  expect(told).toHaveLength(1);
});

test('connections are announced again when an edge has ended them for the events', () => {
  formerShard = SHARD;
  announce('own', { connectionsEnded: true });
  announce('a', { connectionsEnded: true });
  expect(told).toEqual(['announced again 0']);
});

test('an owner probes its shards when they are subscribed, and says when it leaves one', () => {
  delivery.onConfirmed(SHARD);
  announce('a', { hasClients: true });
  delivery.onLeft(SHARD);
  expect(told).toEqual(['probe 0', 'left 0']);
  receive(1);
  expect(standing.others).toBe(0);
});

test('the owners of shards with clients here are told in turn', () => {
  guestShard = 2;
  edges.tellOwners(1, 2);
  expect(told).toEqual([]);
  edges.tellOwners(0, 2);
  expect(told).toEqual(['has clients 2']);
});
