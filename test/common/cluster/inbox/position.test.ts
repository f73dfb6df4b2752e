/** The position of a client with a gap in its history, against a real Redis. */
import { expect, test } from '@jest/globals';
import { readInbox } from '../../../../common/cluster/history/inbox-read.js';
import { readPosition } from '../../../../common/cluster/inbox/position.js';
import { storePush } from '../../../../common/cluster/inbox/push.js';
import { confirmInbox, isIdBefore, resumeInbox } from '../../../../common/cluster/inbox.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { replyOf, useRedis } from '../../../support/cluster/redis-link.js';
import { CHANNEL, untilExpired } from '../../../support/cluster/stored-push.js';

const ALICE = 'alice';
const ACK_KEY = `${CHANNEL}:ack:${ALICE}`;

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

async function storeId(ttlMs = 60_000, countMax = 100): Promise<string> {
  const push = {
    channel: CHANNEL,
    clientId: ALICE,
    envelope: Buffer.alloc(0),
    payload: Buffer.from('p'),
    contentType: '',
    ttlMs,
    idempotencyKey: '',
  };
  const stored = replyOf(await storePush(link, push, { countMax, bytesMax: 1_000_000 }));
  if (stored.type !== 'stored') throw new Error('it is a duplicate');
  return stored.id;
}

const position = async () => replyOf(await readPosition(link, CHANNEL, ALICE));
const isComplete = async (cursor: string) =>
  replyOf(await resumeInbox(link, CHANNEL, ALICE, cursor)).isComplete;
const idsAfter = async (cursor: string) =>
  replyOf(await readInbox(link, CHANNEL, ALICE, cursor, 100)).entries.map(({ id }) => id);

/** A device that resumes at the position is complete, and receives exactly `ids`. */
async function expectResumes(ids: string[]): Promise<void> {
  const at = await position();
  for (let times = 0; times < 2; times++) {
    expect(await position()).toBe(at);
    expect(await isComplete(at)).toBe(true);
    expect(await idsAfter(at)).toEqual(ids);
  }
}

test('is made up for a client without a history, and expires with the history', async () => {
  await expectResumes([]);
  expect(await link.commands.pttl(ACK_KEY)).toBeGreaterThan(0);
});

test('is older than a push that follows at once, which is then received', async () => {
  const at = await position();
  const id = await storeId();
  expect(isIdBefore(at, id)).toBe(true);
  expect(await isComplete(at)).toBe(true);
  expect(await idsAfter(at)).toEqual([id]);
});

test('does not hide a push that is lost after it', async () => {
  const at = await position();
  await storeId(20);
  await untilExpired(link, ALICE);
  expect(await isComplete(at)).toBe(false);
  await expectResumes([]);
});

test('is before the oldest push if none has left the inbox', async () => {
  await expectResumes([await storeId(), await storeId()]);
});

test('is the newest confirmed or dropped push', async () => {
  const ids = [await storeId(), await storeId(), await storeId()];
  await confirmInbox(link, CHANNEL, ALICE, ids[0]!);
  expect(await position()).toBe(ids[0]);
  await expectResumes(ids.slice(1));
  const newest = await storeId(60_000, 2);
  expect(await position()).toBe(ids[1]);
  await expectResumes([ids[2]!, newest]);
  await confirmInbox(link, CHANNEL, ALICE, newest);
  expect(await position()).toBe(newest);
});

test('is the newest push of an inbox that has expired', async () => {
  const id = await storeId(20);
  await untilExpired(link, ALICE);
  expect(await position()).toBe(id);
  await expectResumes([]);
});

test('survives that only the history was lost', async () => {
  const ids = [await storeId(), await storeId()];
  await link.commands.del(ACK_KEY);
  await expectResumes(ids);
});

test('is empty while Redis has no memory for it', async () => {
  await link.commands.config('SET', 'maxmemory', '1');
  try {
    expect(await position()).toBe('');
  } finally {
    await link.commands.config('SET', 'maxmemory', '0');
  }
});
