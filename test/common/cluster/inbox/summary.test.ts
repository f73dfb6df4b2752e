/** The summary of an inbox and the list of its pushes, against a real Redis. */
import { expect, test } from '@jest/globals';
import { listInbox, readPayload } from '../../../../common/cluster/inbox/list.js';
import { storePush } from '../../../../common/cluster/inbox/push.js';
import { summarizeInbox } from '../../../../common/cluster/inbox/summary.js';
import { confirmInbox } from '../../../../common/cluster/inbox.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { replyOf, useRedis } from '../../../support/cluster/redis-link.js';
import { CHANNEL, untilExpired } from '../../../support/cluster/stored-push.js';

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

async function store(
  bytes: number,
  ttlMs: number,
  countMax = 100,
  clientId = 'alice',
): Promise<string> {
  const push = {
    channel: CHANNEL,
    clientId,
    envelope: Buffer.alloc(0),
    payload: Buffer.alloc(bytes),
    contentType: 'text/plain',
    ttlMs,
    idempotencyKey: '',
  };
  const outcome = await storePush(link, push, { countMax, bytesMax: 1e6 });
  if (outcome.type !== 'done' || outcome.reply.type !== 'stored') throw new Error(outcome.type);
  return outcome.reply.id;
}

async function summary(clientId = 'alice') {
  const outcome = await summarizeInbox(link, CHANNEL, clientId);
  if (outcome.type !== 'done') throw new Error(outcome.reason);
  return outcome.reply;
}

test('a client without pushes', async () => {
  const none = { newestId: '', confirmedId: '', goneId: '', oldest: undefined, ttlMs: undefined };
  expect(await summary()).toEqual({ count: 0, bytes: 0, ...none });
});

test('count, bytes, oldest push, and what was confirmed and dropped', async () => {
  const ids = [await store(100, 60_000), await store(20, 30_000), await store(3, 90_000)];
  const stored = await summary();
  expect(stored).toMatchObject({ count: 3, bytes: 123, newestId: ids[2], confirmedId: '' });
  expect(stored.oldest!.id).toBe(ids[0]);
  expect(stored.oldest!.ageMs).toBeGreaterThanOrEqual(0);
  expect(stored.oldest!.ttlMs).toBeLessThanOrEqual(60_000);
  expect(stored.oldest!.ttlMs).toBeGreaterThan(30_000);
  expect(stored.ttlMs).toBeGreaterThan(60_000);
  await confirmInbox(link, CHANNEL, 'alice', ids[0]!);
  expect(await summary()).toMatchObject({ count: 2, bytes: 23, confirmedId: ids[0], goneId: '' });
  const newestId = await store(1, 60_000, 2);
  expect(await summary()).toMatchObject({ count: 2, bytes: 4, newestId, goneId: ids[1] });
  await confirmInbox(link, CHANNEL, 'alice', newestId);
  expect(await summary()).toMatchObject({ count: 0, bytes: 0, newestId, confirmedId: newestId });
});

test('an inbox that has expired', async () => {
  const newestId = await store(5, 1, 100, 'bob');
  await untilExpired(link, 'bob');
  expect(await summary('bob')).toMatchObject({ count: 0, newestId, goneId: newestId });
});

test('pushes are listed without their payloads, a page at a time', async () => {
  const ids = [];
  for (let i = 0; i < 20; i++) ids.push(await store(i, 60_000, 100, 'lister'));
  const list = async (after: string, countMax: number) =>
    replyOf(await listInbox(link, CHANNEL, 'lister', after, countMax));
  const all = await list('', 100);
  expect(all.hasMore).toBe(false);
  expect(all.pushes.map(({ messageId, bytes }) => [messageId, bytes])).toEqual(
    ids.map((id, i) => [id, i]),
  );
  const { contentType, ageMs, ttlMs } = all.pushes[0]!;
  expect(contentType).toBe('text/plain');
  expect(ageMs).toBeGreaterThanOrEqual(0);
  expect(ttlMs).toBeGreaterThan(30_000);
  for (const size of [1, 7, 8, 9, 19, 20]) {
    const found: string[] = [];
    for (let hasMore = true; hasMore; ) {
      const page = await list(found.at(-1) ?? '', size);
      expect(page.pushes.length).toBeLessThanOrEqual(size);
      found.push(...page.pushes.map(({ messageId }) => messageId));
      hasMore = page.hasMore;
    }
    expect(found).toEqual(ids);
  }
  expect(await list(ids.at(-1)!, 10)).toEqual({ pushes: [], hasMore: false });
  expect(replyOf(await listInbox(link, CHANNEL, 'absent', '', 10)).pushes).toEqual([]);
});

test('a page ends after some megabytes', async () => {
  const large = 3 * 1024 * 1024;
  for (let i = 0; i < 3; i++) {
    const stored = { channel: CHANNEL, clientId: 'large', envelope: Buffer.alloc(0) };
    const push = { ...stored, payload: Buffer.alloc(large), contentType: '', ttlMs: 60_000 };
    replyOf(await storePush(link, { ...push, idempotencyKey: '' }, { countMax: 9, bytesMax: 1e8 }));
  }
  const page = replyOf(await listInbox(link, CHANNEL, 'large', '', 10));
  expect(page).toMatchObject({ hasMore: true, pushes: [{ bytes: large }, { bytes: large }] });
  const { bytes, start } = replyOf(
    await readPayload(link, CHANNEL, 'large', page.pushes[0]!.messageId, 100),
  )!;
  expect([bytes, start.length]).toEqual([large, 100]);
});

test('a payload is read as it was stored, and not after it has gone', async () => {
  const id = await store(5, 60_000, 100, 'reader');
  const read = async () => replyOf(await readPayload(link, CHANNEL, 'reader', id, 100));
  expect(await read()).toEqual({ bytes: 5, start: Buffer.alloc(5), contentType: 'text/plain' });
  await confirmInbox(link, CHANNEL, 'reader', id);
  expect(await read()).toBeUndefined();
});
