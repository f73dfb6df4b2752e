/** Several inboxes that are read with one script, on a real Redis. */
import { expect, test } from '@jest/globals';
import { type InboxRead, readInboxes } from '../../../../common/cluster/history/inbox-read.js';
import { storePush } from '../../../../common/cluster/inbox/push.js';
import { confirmInbox } from '../../../../common/cluster/inbox.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { replyOf, useRedis } from '../../../support/cluster/redis-link.js';

const CHANNELS = ['ll:{7}', 'll:{8}'] as const;
const BOUNDS = { countMax: 100, bytesMax: 10_000_000 };

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

async function store(clientId: string, text: string, channel: string = CHANNELS[0]) {
  const payload = Buffer.from(text);
  const push = { channel, clientId, contentType: '', ttlMs: 60_000, idempotencyKey: '' };
  const stored = await storePush(link, { ...push, envelope: payload, payload }, BOUNDS);
  const reply = replyOf(stored);
  return reply.type === 'stored' ? reply.id : '';
}

function readOf(clientId: string, after = '', channel: string = CHANNELS[0]): InboxRead {
  return { channel, clientId, after, countMax: 100, isTold: false, partsMax: 0 };
}

async function textsOf(reads: readonly InboxRead[]): Promise<(string[] | string)[]> {
  const outcomes = await readInboxes(link, reads);
  return outcomes.map((outcome) =>
    outcome.type === 'done'
      ? outcome.reply.entries.map(({ payload }) => payload.toString())
      : outcome.type,
  );
}

test('each inbox is read as it is alone', async () => {
  const first = await store('alice', 'a1');
  await store('alice', 'a2');
  await store('bob', 'b1', CHANNELS[1]);
  const gone = await store('carol', 'c1');
  await link.commands.del(`${CHANNELS[0]}:in:carol`);
  const confirmed = await store('dave', 'd1');
  await confirmInbox(link, CHANNELS[0], 'dave', confirmed);
  const reads = [
    readOf('empty'),
    readOf('alice'),
    readOf('alice', first),
    readOf('bob', '', CHANNELS[1]),
    readOf('carol'),
    readOf('dave', confirmed),
    readOf('empty', first),
  ];
  const together = (await readInboxes(link, reads)).map(replyOf);
  expect(together.map(({ entries }) => entries.map(({ payload }) => String(payload)))).toEqual([
    ...[[], ['a1', 'a2'], ['a2'], ['b1'], [], [], []],
  ]);
  expect(together.map((page) => page.gone)).toEqual(['', '', '', '', gone, '', '']);
  expect(together.map(({ isProven }) => isProven)).toEqual([
    ...[true, true, true, true, true, true, false],
  ]);
  const alone = await Promise.all(reads.map(async (read) => (await readInboxes(link, [read]))[0]!));
  const withoutTime = ({ entries, redisMs, ...rest }: (typeof together)[number]) => ({
    ...rest,
    entries: entries.map(({ ttlMs, ...entry }) => ({ ...entry, expiresAtMs: ttlMs + redisMs })),
  });
  expect(alone.map(replyOf).map(withoutTime)).toEqual(together.map(withoutTime));
});

test('an inbox that cannot be read does not keep the others from being read', async () => {
  await store('alice', 'a1');
  await link.commands.set(`${CHANNELS[0]}:in:bob`, 'no stream');
  const reads = [readOf('bob'), readOf('alice'), readOf('bob')];
  expect(await textsOf(reads)).toEqual(['unknown', ['a1'], 'unknown']);
});

test('large inboxes are read by several calls', async () => {
  const large = 'x'.repeat(70_000);
  for (const clientId of ['alice', 'bob', 'carol']) await store(clientId, large);
  const reads = ['alice', 'empty', 'bob', 'empty', 'carol'].map((clientId) => readOf(clientId));
  await readInboxes(link, reads);
  const callsBefore = await evalCalls();
  expect(await textsOf(reads)).toEqual([[large], [], [large], [], [large]]);
  expect(await evalCalls()).toBe(callsBefore + 3);
});

test('all reads have the error of the script', async () => {
  const fails = { ...link, execute: async () => ({ type: 'rejected', reason: 'OOM' }) as const };
  const outcomes = await readInboxes(fails, [readOf('alice'), readOf('bob')]);
  expect(outcomes).toEqual([
    { type: 'rejected', reason: 'OOM' },
    { type: 'rejected', reason: 'OOM' },
  ]);
});

/** Scripts that Redis has run. */
async function evalCalls(): Promise<number> {
  const stats = await link.commands.info('commandstats');
  const calls = [...stats.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+)/gm)];
  return calls.reduce((sum, [, count]) => sum + Number(count), 0);
}
