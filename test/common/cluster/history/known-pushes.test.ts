/** Whether Redis knows a push, in every state of its inbox, against a real Redis. */
import { expect, test } from '@jest/globals';
import { areKnownToRedis } from '../../../../common/cluster/history/known-pushes.js';
import { readPosition } from '../../../../common/cluster/inbox/position.js';
import { storePush } from '../../../../common/cluster/inbox/push.js';
import { confirmInbox, HISTORY_MS, resumeInbox } from '../../../../common/cluster/inbox.js';
import { skipPush } from '../../../../common/cluster/undelivered.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { replyOf, useRedis } from '../../../support/cluster/redis-link.js';

const CHANNEL = 'll:{7}';
const ALICE = [CHANNEL, 'alice'] as const;
const INBOX = `${CHANNEL}:in:alice`;
const ACK = `${CHANNEL}:ack:alice`;
const BOUNDS = { countMax: 3, bytesMax: 1_000 };

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

async function store(ttlMs = 60_000): Promise<string> {
  const push = {
    channel: CHANNEL,
    clientId: 'alice',
    envelope: Buffer.alloc(0),
    payload: Buffer.from('p'),
    contentType: '',
    ttlMs,
    idempotencyKey: '',
  };
  const stored = replyOf(await storePush(link, push, BOUNDS));
  if (stored.type !== 'stored') throw new Error('it is a duplicate');
  return stored.id;
}

function known(...ids: string[]): Promise<(boolean | undefined)[]> {
  return areKnownToRedis(
    link,
    ids.map((id) => ({ channel: CHANNEL, clientId: 'alice', id })),
  );
}

test('a push is known while it is stored', async () => {
  expect(await known(await store(), await store())).toEqual([true, true]);
});

test('a push that has left its inbox is known', async () => {
  const ids = [await store(), await store(), await store()];
  await confirmInbox(link, ...ALICE, '', [ids[1]!]);
  expect(await known(...ids)).toEqual([true, true, true]);
  await confirmInbox(link, ...ALICE, ids[0]!);
  await skipPush(link, ...ALICE, ids[2]!);
  expect(await known(...ids)).toEqual([true, true, true]);
  const first = await store();
  for (let i = 0; i < BOUNDS.countMax; i++) await store();
  expect(await known(first)).toEqual([true]);
  const last = await store();
  await resumeInbox(link, ...ALICE, last);
  expect(await known(first, last)).toEqual([true, true]);
});

test('a push whose inbox has expired is known', async () => {
  const id = await store();
  await link.commands.del(INBOX);
  expect(await known(id)).toEqual([true]);
});

test('nothing is known of a push after a day: its keys may have expired', async () => {
  expect(await known(`${Date.now() - HISTORY_MS - 1_000}-0`)).toEqual([true]);
});

test('a push that Redis has lost is not known, also after later ones', async () => {
  const [kept, lost] = [await store(), await store()];
  await link.commands.xdel(INBOX, lost);
  await link.commands.hset(ACK, 'last', kept);
  expect(await known(kept, lost)).toEqual([true, false]);
  const later = await store();
  expect(await known(kept, lost, later)).toEqual([true, false, true]);
});

test('a push is not known to a Redis that was emptied, also after a later one', async () => {
  const lost = await store();
  await link.commands.flushall();
  expect(await known(lost)).toEqual([false]);
  await readPosition(link, ...ALICE);
  await store();
  expect(await known(lost)).toEqual([false]);
});

test('nothing is said while Redis does not answer', async () => {
  const away = { ...link, executeOn: () => undefined };
  const push = { channel: CHANNEL, clientId: 'alice', id: '1-0' };
  expect(await areKnownToRedis(away, [push])).toEqual([undefined]);
});
