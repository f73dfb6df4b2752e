/** The scripts that skip pushes, against a real Redis. */
import { expect, test } from '@jest/globals';
import { readInbox } from '../../../common/cluster/history/inbox-read.js';
import { storePush } from '../../../common/cluster/inbox/push.js';
import { confirmInbox, readFate, resumeInbox } from '../../../common/cluster/inbox.js';
import {
  countDeliveryTry,
  DELIVERY_TRIES_MAX,
  isSkipped,
  skipLargestPush,
  skipPush,
} from '../../../common/cluster/undelivered.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { replyOf, useRedis } from '../../support/cluster/redis-link.js';

const CHANNEL = 'll:{7}';
const ALICE = [CHANNEL, 'alice'] as const;
const BYTES_MAX = 1_000;

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

/** Stores pushes of these sizes; returns their ids. */
async function store(...sizes: number[]): Promise<string[]> {
  const ids: string[] = [];
  for (const size of sizes) {
    const push = {
      channel: CHANNEL,
      clientId: 'alice',
      envelope: Buffer.alloc(0),
      payload: Buffer.alloc(size),
      contentType: '',
      ttlMs: 60_000,
      idempotencyKey: '',
    };
    const outcome = await storePush(link, push, { countMax: 100, bytesMax: BYTES_MAX });
    if (outcome.type !== 'done' || outcome.reply.type !== 'stored') throw new Error('not stored');
    ids.push(outcome.reply.id);
  }
  return ids;
}

async function stored(): Promise<{ ids: string[]; gone: string }> {
  const page = await readInbox(link, ...ALICE, '', 100);
  if (page.type !== 'done') throw new Error(page.type);
  return { ids: page.reply.entries.map(({ id }) => id), gone: page.reply.gone };
}

async function tryOnce(lastSentId: string): Promise<string> {
  const outcome = await countDeliveryTry(link, ...ALICE, lastSentId);
  return outcome.type === 'done' ? outcome.reply : outcome.type;
}

test('the oldest push is skipped after the last try, and the next one starts anew', async () => {
  const [first = '', second = ''] = await store(1, 1);
  for (let i = 1; i < DELIVERY_TRIES_MAX; i++) expect(await tryOnce(second)).toBe('');
  expect(await tryOnce(second)).toBe(first);
  expect(await stored()).toEqual({ ids: [second], gone: first });
  expect(await isSkipped(link, ...ALICE, first)).toBe(true);
  expect(await tryOnce(second)).toBe('');
  expect(await isSkipped(link, ...ALICE, second)).toBe(false);
});

test('tries count only in a row and only for a push that was sent', async () => {
  const [first = '', second = ''] = await store(1, 1);
  for (let i = 0; i < 2 * DELIVERY_TRIES_MAX; i++) expect(await tryOnce('1-0')).toBe('');
  for (let i = 1; i < DELIVERY_TRIES_MAX; i++) expect(await tryOnce(first)).toBe('');
  await confirmInbox(link, ...ALICE, first);
  for (let i = 1; i < DELIVERY_TRIES_MAX; i++) expect(await tryOnce(second)).toBe('');
  expect((await stored()).ids).toEqual([second]);
  await confirmInbox(link, ...ALICE, second);
  expect(await tryOnce(second)).toBe('');
});

test('the largest push that was sent is skipped, and the others stay', async () => {
  const [first = '', largest = '', third = '', unsent = ''] = await store(10, 50, 20, 100);
  const outcome = await skipLargestPush(link, ...ALICE, third);
  expect(outcome).toEqual({ type: 'done', reply: largest });
  expect(await stored()).toEqual({ ids: [first, third, unsent], gone: largest });
});

test('a skipped push is a gap for a cursor before it, and none for one after it', async () => {
  const [first = '', second = '', third = ''] = await store(1, 1, 1);
  expect(await skipPush(link, ...ALICE, second)).toEqual({ type: 'done', reply: true });
  expect(await skipPush(link, ...ALICE, second)).toEqual({ type: 'done', reply: false });
  const isComplete = async (id: string) =>
    replyOf(await resumeInbox(link, ...ALICE, id)).isComplete;
  expect(await isComplete(first)).toBe(false);
  expect(await isComplete(third)).toBe(true);
  expect(await readFate(link, ...ALICE, third)).toBe('acked');
});

test('a skipped push is not confirmed by the push before it, and its bytes are free again', async () => {
  const [first = '', second = ''] = await store(400, 500);
  await skipPush(link, ...ALICE, second);
  await confirmInbox(link, ...ALICE, first);
  expect(await readFate(link, ...ALICE, second)).toBeUndefined();
  const [third = ''] = await store(600);
  const [fourth = ''] = await store(400);
  expect((await stored()).ids).toEqual([third, fourth]);
});
