/** The summary of an inbox, against a real Redis. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { storePush } from '../../../../common/cluster/inbox/push.js';
import { summarizeInbox } from '../../../../common/cluster/inbox/summary.js';
import { confirmInbox } from '../../../../common/cluster/inbox.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { type LinkedRedis, startLinkedRedis } from '../../../support/cluster/redis-link.js';
import { eventually } from '../../../support/eventually.js';

const CHANNEL = 'll:{7}';

let linked: LinkedRedis;
let link: RedisLink;

beforeAll(async () => {
  linked = await startLinkedRedis();
  ({ link } = linked);
});

afterAll(() => linked?.stop());

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
  await eventually(async () => {
    expect(await summary('bob')).toMatchObject({ count: 0, newestId, goneId: newestId });
  });
});
