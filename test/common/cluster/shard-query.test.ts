/** When the replies to a query are complete, and when there is nothing to wait for any more. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { type QueryResult, ShardQueries } from '../../../common/cluster/shard-query.js';
import { Metrics } from '../../../common/process/metrics.js';
import type { PublishResult } from '../../../common/redis/redis-link.js';
import { RedisNames } from '../../../common/redis/redis-names.js';
import type { Reply } from '../../../proto/gen/longline/v1/envelope.js';

const ABSENT = { $case: 'absent', value: {} } as const;
const WAIT_MS = 60_000;

const FINAL: Reply = {
  ...{ queryId: 1, owner: true, others: 0, uninvolved: false, otherEdges: [] },
  ...{ body: ABSENT, times: undefined },
};

let queries: ShardQueries;
let metrics: Metrics;
/** Receivers that Redis counts. */
let receivers: number;
/** Answer of Redis to a publish; undefined: the receivers. */
let published: Promise<PublishResult> | undefined;
let haveEdgesFollowed = true;
/** For which memory is reserved. */
let sendingBytes = 0;

afterEach(() => expect(sendingBytes).toBe(0));

beforeEach(() => {
  published = undefined;
  haveEdgesFollowed = true;
  metrics = new Metrics();
  queries = new ShardQueries({
    link: {
      names: new RedisNames(''),
      publish: async () => (await published) ?? { type: 'published', receivers },
    },
    channels: { replyChannelFor: () => 'lr:{0}:router', downReason: () => undefined },
    shardCount: 4,
    inFlightMax: 10,
    memory: {
      beginSend: (bytes) => {
        sendingBytes += bytes;
        return true;
      },
      endSend: (bytes) => {
        sendingBytes -= bytes;
      },
    },
    haveEdgesFollowed: () => haveEdgesFollowed,
    metrics,
    role: 'router',
  });
});

/** Replies of edges in the order given, to a query of Redis' `counted` receivers. */
async function resultOf(
  counted: number,
  ...replies: readonly Partial<Reply>[]
): Promise<QueryResult | 'waits'> {
  receivers = counted;
  const result = queries.query('alice', { $case: 'presence', value: {} }, WAIT_MS, () => false);
  await new Promise(setImmediate);
  for (const reply of replies) {
    const standing = { owner: false, others: 0, uninvolved: false, otherEdges: [] };
    const defaults = { queryId: 1, ...standing, body: ABSENT, times: undefined };
    const edgeId = reply.owner ? 'owner' : 'edge';
    queries.onReplies({ edgeId, replies: [{ ...defaults, ...reply }] });
  }
  const waits = new Promise<'waits'>((resolve) => setImmediate(() => resolve('waits')));
  const done = (await Promise.race([result, waits])) as QueryResult | 'waits';
  queries.endWaits(0);
  return done;
}

const incomplete = async () =>
  /^longline_router_shard_queries_incomplete_total (\d+)$/m.exec(
    await metrics.registry.metrics(),
  )?.[1];

test.each<[string, number, Partial<Reply>[]]>([
  ['the owner alone', 1, [{ owner: true }]],
  ['the owner and a guest edge', 2, [{ owner: true, others: 1 }, {}]],
  ['a guest edge and the owner', 2, [{}, { owner: true, others: 1 }]],
  ['a guest edge of which the owner does not know', 2, [{ owner: true }, {}]],
  ['an edge that acquires the shard', 2, [{ owner: true }, { uninvolved: true }]],
  ['the owner, and the one before it', 2, [{ owner: true, others: 1 }, { owner: true }]],
  [
    'the owner, and a guest edge by its name',
    2,
    [{ owner: true, others: 1, otherEdges: ['edge'] }, { otherEdges: ['owner'] }],
  ],
])('%s: complete', async (_, counted, replies) => {
  expect(await resultOf(counted, ...replies)).toMatchObject({ complete: true });
  expect(await incomplete()).toBe('0');
});

test.each<[string, number, Partial<Reply>[]]>([
  ['a guest edge has lost its subscription', 1, [{ owner: true, others: 1 }]],
  ['one of two has', 2, [{ owner: true, others: 2 }, {}]],
  [
    'the one that hands over knows of a guest edge, a new owner does not',
    2,
    [{ otherEdges: ['guest'] }, { owner: true, others: 1, otherEdges: ['edge'] }],
  ],
  ['only one without clients replies', 2, [{ owner: true, others: 1 }, { uninvolved: true }]],
  ['edges have not followed to the server', 1, [{ owner: true }]],
])('%s: not complete, and not waited for', async (reason, counted, replies) => {
  haveEdgesFollowed = !reason.startsWith('edges have not followed');
  expect(await resultOf(counted, ...replies)).toMatchObject({ complete: false });
  expect(await incomplete()).toBe('1');
});

test.each<[string, number, Partial<Reply>[]]>([
  ['the owner has not replied', 2, [{}, {}]],
  ['a counted edge has not replied', 2, [{ owner: true }]],
])('%s: waits', async (_, counted, replies) => {
  expect(await resultOf(counted, ...replies)).toBe('waits');
});

test.each([
  ['before Redis fails to say', true],
  ['after Redis has failed to say', false],
])('a final reply %s whether it published is enough', async (_, isBefore) => {
  let fail!: (result: PublishResult) => void;
  published = new Promise((resolve) => {
    fail = resolve;
  });
  const result = queries.query('alice', { $case: 'presence', value: {} }, WAIT_MS, () => true);
  const steps = [
    () => queries.onReplies({ edgeId: 'edge', replies: [FINAL] }),
    () => fail({ type: 'unknown', reason: 'Command timed out' }),
  ];
  for (const step of isBefore ? steps : steps.reverse()) {
    step();
    await new Promise(setImmediate);
  }
  expect(await result).toMatchObject({ bodies: [ABSENT], complete: false });
});
