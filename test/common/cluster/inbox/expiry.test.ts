/** Pushes whose TTL has passed, on a real Redis: when they leave their inbox, and who learns so. */
import { expect, test } from '@jest/globals';
import { readInbox } from '../../../../common/cluster/history/inbox-read.js';
import { type StorePush, storePush } from '../../../../common/cluster/inbox/push.js';
import { confirmInbox } from '../../../../common/cluster/inbox.js';
import { auditShards } from '../../../../common/cluster/ledger/audit.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { replyOf, useRedis } from '../../../support/cluster/redis-link.js';
import { CHANNEL, pushOf, untilExpired } from '../../../support/cluster/stored-push.js';
import { eventually } from '../../../support/eventually.js';

const AMPLE = { countMax: 100, bytesMax: 1_000_000 };
const SOON_MS = 500;

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

const store = async (push: Partial<StorePush> = {}, bounds = AMPLE) =>
  replyOf(await storePush(link, pushOf(push), bounds));

async function storeId(): Promise<string> {
  const stored = await store();
  return stored.type === 'stored' ? stored.id : '';
}

const read = async (after = '') =>
  replyOf(await readInbox(link, CHANNEL, 'alice', after, 100)).entries;
const idsOf = async () => (await read()).map(({ id }) => id);
const audit = () => auditShards(link, [CHANNEL], [false], [false], false);

test('an expired entry has no TTL left when read, and is dropped by the next audit', async () => {
  await store({ ttlMs: SOON_MS });
  const kept = await storeId();
  await eventually(async () =>
    expect((await read()).map(({ ttlMs }) => ttlMs <= 0)).toEqual([true, false]),
  );
  expect(await store()).toMatchObject({ dropped: 0 });
  await audit();
  expect((await idsOf())[0]).toBe(kept);
});

test('a push that does not need the room drops few of many that have expired', async () => {
  for (let i = 0; i < 20; i++) await store({ ttlMs: SOON_MS });
  await eventually(async () => expect((await read()).at(-1)!.ttlMs).toBeLessThanOrEqual(0));
  expect(await store({ ttlMs: 90_000 })).toMatchObject({ dropped: 8 });
  expect(await store({}, { ...AMPLE, countMax: 2 })).toMatchObject({ dropped: 12 });
});

test('an inbox that is full, or lives longer, drops what has expired first', async () => {
  for (const [ttlMs, countMax] of [[60_000, 5] as const, [90_000, 100] as const]) {
    await link.commands.flushall();
    const kept = await storeId();
    await confirmInbox(link, CHANNEL, 'alice', kept);
    for (let i = 0; i < 4; i++) await store({ ttlMs: SOON_MS });
    const next = await storeId();
    await eventually(async () => expect((await read()).at(-2)!.ttlMs).toBeLessThanOrEqual(0));
    expect(await store({ ttlMs }, { ...AMPLE, countMax })).toMatchObject({ dropped: 4 });
    expect((await idsOf())[0]).toBe(next);
  }
});

test('an inbox expires with its longest TTL', async () => {
  await store({ ttlMs: 60_000 });
  await store({ ttlMs: 1_000 });
  expect(await link.commands.pttl(`${CHANNEL}:in:alice`)).toBeGreaterThan(50_000);
  await store({ clientId: 'bob', ttlMs: 20 });
  await untilExpired(link, 'bob');
});
