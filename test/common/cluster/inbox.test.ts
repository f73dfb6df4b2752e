/** The inbox's scripts against a real Redis. */
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { readInbox } from '../../../common/cluster/history/inbox-read.js';
import { markLostHistory } from '../../../common/cluster/history/lost-history.js';
import { readShardCounters } from '../../../common/cluster/history/shard-counters.js';
import {
  type InboxBounds,
  type StorePush,
  storePush,
  storePushes,
} from '../../../common/cluster/inbox/push.js';
import { confirmInbox, isMessageId, readFate, resumeInbox } from '../../../common/cluster/inbox.js';
import { auditShards } from '../../../common/cluster/ledger/audit.js';
import { UNCOUNTED_AFTER_MS } from '../../../common/cluster/ledger/left.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { ShardEnvelope } from '../../../proto/gen/longline/v1/envelope.js';
import type { TestRedis } from '../../support/cluster/redis.js';
import { useRedis } from '../../support/cluster/redis-link.js';
import { CHANNEL, pushOf, untilExpired } from '../../support/cluster/stored-push.js';
import { eventually } from '../../support/eventually.js';

/** TTL of a push that is stored when the next command runs, also on a busy machine. */
const SOON_MS = 500;
const AMPLE: InboxBounds = { countMax: 100, bytesMax: 1_000_000 };

let link: RedisLink;
let redis: TestRedis;
useRedis((openedLink, startedRedis) => {
  link = openedLink;
  redis = startedRedis;
});

async function store(push: Partial<StorePush> = {}, bounds = AMPLE) {
  const outcome = await storePush(link, pushOf(push), bounds);
  if (outcome.type !== 'done') throw new Error(outcome.reason);
  return outcome.reply;
}

async function storeId(push: Partial<StorePush> = {}, bounds = AMPLE): Promise<string> {
  const stored = await store(push, bounds);
  if (stored.type !== 'stored') throw new Error('it is a duplicate');
  return stored.id;
}

async function read(after = '', clientId = 'alice') {
  const page = await readInbox(link, CHANNEL, clientId, after, 100);
  if (page.type !== 'done') throw new Error(page.reason);
  return page.reply.entries;
}

const idsOf = async (after = '') => (await read(after)).map((entry) => entry.id);

async function isComplete(cursor: string): Promise<boolean> {
  const outcome = await resumeInbox(link, CHANNEL, 'alice', cursor);
  if (outcome.type !== 'done') throw new Error(outcome.reason);
  return outcome.reply.isComplete;
}

describe('storePush', () => {
  test('stores payloads unchanged, in order, and counts the pushes of the shard', async () => {
    const payload = Buffer.from([0, 255, 13, 10, 128]);
    const ids = [await storeId({ payload }), await storeId({ clientId: 'bob' }), await storeId()];
    const rest = { contentType: '', ttlMs: expect.any(Number), isCorrupt: false };
    expect(await read()).toEqual([
      { id: ids[0], payload, ...rest },
      { id: ids[2], payload: Buffer.from('p'), ...rest },
    ]);
    expect(ids.every(isMessageId)).toBe(true);
    expect(await readShardCounters(link, [CHANNEL, 'll:{8}'])).toEqual([3, 0]);
  });

  test('publishes the envelope with id and number appended', async () => {
    const subscriber = new Redis(redis.port);
    const published: Buffer[] = [];
    subscriber.on('smessageBuffer', (_channel, message: Buffer) => published.push(message));
    await subscriber.ssubscribe(`${CHANNEL}`);
    const stored = await store();
    await eventually(() => expect(published).toHaveLength(1));
    subscriber.disconnect();
    expect(stored).toMatchObject({ type: 'stored', receivers: 1, dropped: 0 });
    expect(ShardEnvelope.decode(published[0]!)).toMatchObject({
      queryId: 1,
      clientId: 'alice',
      id: stored.type === 'stored' && stored.id,
      seq: '1',
    });
  });

  test('a push with a known idempotency key is not stored, and gets the first id', async () => {
    const id = await storeId({ idempotencyKey: 'k{}:' });
    expect(await store({ idempotencyKey: 'k{}:' })).toEqual({ type: 'duplicate', firstId: id });
    expect(await idsOf()).toEqual([id]);
    expect(await storeId({ idempotencyKey: 'other' })).not.toBe(id);
    expect(await store({ clientId: 'bob', idempotencyKey: 'k{}:' })).toMatchObject({
      type: 'stored',
    });
  });

  test('drops the oldest at the limit on count, and not before', async () => {
    const bounds = { countMax: 3, bytesMax: 1_000_000 };
    const ids: string[] = [];
    for (let i = 0; i < 3; i++) ids.push(await storeId({}, bounds));
    expect(await idsOf()).toEqual(ids);
    expect(await store({}, bounds)).toMatchObject({ dropped: 1 });
    expect((await idsOf()).slice(0, 2)).toEqual(ids.slice(1));
  });

  test.each([
    [29, 0],
    [30, 0],
    [31, 1],
  ])('with 20 of 50 bytes stored, a push of %d bytes drops %d', async (bytes, dropped) => {
    const bounds = { countMax: 100, bytesMax: 50 };
    await store({ payload: Buffer.alloc(10) }, bounds);
    await store({ payload: Buffer.alloc(10) }, bounds);
    expect(await store({ payload: Buffer.alloc(bytes) }, bounds)).toMatchObject({ dropped });
  });

  test('a push larger than the limit on bytes is stored alone', async () => {
    const bounds = { countMax: 100, bytesMax: 50 };
    await store({ payload: Buffer.alloc(10) }, bounds);
    const id = await storeId({ payload: Buffer.alloc(60) }, bounds);
    expect(await idsOf()).toEqual([id]);
  });

  test('the limit on bytes applies after any history', async () => {
    const bounds = { countMax: 100, bytesMax: 100 };
    for (let i = 0; i < 60; i++) {
      const id = await storeId({ payload: Buffer.alloc((i * 7) % 40) }, bounds);
      if (i % 9 === 0) await resumeInbox(link, CHANNEL, 'alice', id);
      const storedBytes = (await read()).reduce((sum, entry) => sum + entry.payload.length, 0);
      expect(storedBytes).toBeLessThanOrEqual(100);
    }
  });

  test('the ack hash outlives the longest TTL of the inbox', async () => {
    const weekMs = 7 * 24 * 3_600_000;
    await store({ ttlMs: weekMs });
    await store({ ttlMs: 1_000 });
    const [inboxMs, ackMs] = await Promise.all(
      ['in', 'ack'].map((kind) => link.commands.pttl(`${CHANNEL}:${kind}:alice`)),
    );
    expect(ackMs).toBeGreaterThanOrEqual(inboxMs! - UNCOUNTED_AFTER_MS - 1_000);
    expect(ackMs).toBeGreaterThan(weekMs - 60_000);
  });

  test('survives SCRIPT FLUSH', async () => {
    await store();
    await link.commands.script('FLUSH');
    await store();
    expect(await idsOf()).toHaveLength(2);
  });

  test('keeps the rest of the TTL, and the content type', async () => {
    await storeId({ ttlMs: 5_000, contentType: 'application/json' });
    const [entry] = await read();
    expect(entry).toMatchObject({ contentType: 'application/json' });
    expect(entry!.ttlMs).toBeGreaterThan(0);
    expect(entry!.ttlMs).toBeLessThanOrEqual(5_000);
  });

  test('is rejected by a full Redis without being stored', async () => {
    await link.commands.config('SET', 'maxmemory', '1');
    const outcome = await storePush(link, pushOf(), AMPLE);
    await link.commands.config('SET', 'maxmemory', '0');
    expect(outcome).toMatchObject({ type: 'rejected', reason: expect.stringMatching(/^OOM/) });
    expect(await idsOf()).toEqual([]);
  });

  test('a clientId cannot escape its key', async () => {
    for (const clientId of ['{8}:in:alice', '}', 'a:b', '*', 'alice:idem']) {
      await store({ clientId });
      expect(await read('', clientId)).toHaveLength(1);
    }
    const keys = await link.commands.keys('*');
    expect(keys.every((key) => key.startsWith(`${CHANNEL}:`))).toBe(true);
  });
});

describe('resumeInbox', () => {
  test('confirms up to the cursor and keeps the rest', async () => {
    const ids = [await storeId(), await storeId(), await storeId()];
    expect(await isComplete(ids[1]!)).toBe(true);
    expect(await idsOf()).toEqual([ids[2]]);
  });

  test('is complete repeatedly for the same cursor, and for the newest id', async () => {
    const ids = [await storeId(), await storeId()];
    for (const cursor of [ids[0]!, ids[0]!, ids[1]!, ids[1]!]) {
      expect(await isComplete(cursor)).toBe(true);
    }
    expect(await idsOf()).toEqual([]);
  });

  test('never moves backwards', async () => {
    const ids = [await storeId(), await storeId(), await storeId()];
    await resumeInbox(link, CHANNEL, 'alice', ids[1]!);
    await resumeInbox(link, CHANNEL, 'alice', ids[0]!);
    expect(await idsOf()).toEqual([ids[2]]);
  });

  test('is complete for the newest id after the inbox has expired', async () => {
    const id = await storeId({ ttlMs: 20 });
    await untilExpired(link);
    expect(await isComplete(id)).toBe(true);
  });

  test('is not complete if a later push has expired with the inbox', async () => {
    const first = await storeId({ ttlMs: 20 });
    const second = await storeId({ ttlMs: 20 });
    await untilExpired(link);
    expect(await isComplete(first)).toBe(false);
    const third = await storeId();
    expect(await isComplete(first)).toBe(false);
    expect(await isComplete(second)).toBe(true);
    expect(await isComplete(third)).toBe(true);
  });

  test('is not complete if a later push was dropped', async () => {
    const bounds = { countMax: 2, bytesMax: 1_000 };
    const ids: string[] = [];
    for (let i = 0; i < 4; i++) ids.push(await storeId({}, bounds));
    expect(await isComplete(ids[0]!)).toBe(false);
    expect(await isComplete(ids[1]!)).toBe(true);
  });

  test('is not complete for an id older than the newest confirmed', async () => {
    const ids = [await storeId(), await storeId(), await storeId()];
    expect(await isComplete(ids[1]!)).toBe(true);
    expect(await isComplete(ids[0]!)).toBe(false);
  });

  test("is not complete for another client's id, and confirms nothing", async () => {
    // Ids are times: two clients can have the same one within a millisecond.
    const nextMs = async (startedMs = Date.now()) =>
      eventually(() => expect(Date.now()).toBeGreaterThan(startedMs));
    const mine = [await storeId()];
    await nextMs();
    const foreign = await storeId({ clientId: 'bob' });
    await nextMs();
    mine.push(await storeId());
    expect(await isComplete(foreign)).toBe(false);
    expect(await idsOf()).toEqual(mine);
  });

  test.each(['0-0', '9999999999999-0', '1-1'])(
    'is not complete for %s, which was never assigned',
    async (id) => {
      await store();
      expect(await isComplete(id)).toBe(false);
      expect(await idsOf()).toHaveLength(1);
    },
  );

  test('is not complete for a client without any push', async () => {
    expect(await isComplete('1-1')).toBe(false);
  });
});

describe('confirmInbox', () => {
  const confirm = async (id: string) => (await confirmInbox(link, CHANNEL, 'alice', id)) as unknown;

  test('deletes everything up to the id, and the history after it stays complete', async () => {
    const ids = [await storeId(), await storeId(), await storeId()];
    expect(await confirm(ids[1]!)).toEqual({ type: 'done', reply: 2 });
    expect(await idsOf()).toEqual([ids[2]]);
    expect(await isComplete(ids[1]!)).toBe(true);
  });

  test('never moves backwards, nor past the newest id', async () => {
    const ids = [await storeId(), await storeId()];
    for (const id of [ids[0]!, ids[0]!]) await confirm(id);
    expect(await confirm('0-1')).toEqual({ type: 'done', reply: 0 });
    expect(await confirm('9999999999999-0')).toEqual({ type: 'done', reply: 0 });
    expect(await idsOf()).toEqual([ids[1]]);
  });
});

describe('pushes that are confirmed alone', () => {
  const confirm = async (upTo: string, ...singles: (string | undefined)[]) =>
    (await confirmInbox(link, CHANNEL, 'alice', upTo, singles as string[])) as unknown;
  const acked = async (ids: readonly string[]) =>
    Promise.all(ids.map(async (id) => (await readFate(link, CHANNEL, 'alice', id)) === 'acked'));
  const fields = async () => {
    const { apart, freed } = await link.commands.hgetall(`${CHANNEL}:ack:alice`);
    return { apart, freed };
  };
  const storeMany = async (count: number, push: Partial<StorePush> = {}) => {
    const ids: string[] = [];
    for (let i = 0; i < count; i++) ids.push(await storeId(push));
    return ids;
  };

  test('leave the inbox, are acknowledged, and the others are not', async () => {
    const ids = await storeMany(5);
    expect(await confirm('', ids[1], ids[3])).toEqual({ type: 'done', reply: 2 });
    expect(await confirm('', ids[1])).toEqual({ type: 'done', reply: 0 });
    expect(await idsOf()).toEqual([ids[0], ids[2], ids[4]]);
    expect(await acked(ids)).toEqual([false, true, false, true, false]);
  });

  test('are part of what is confirmed up to an id once nothing older is left', async () => {
    const ids = await storeMany(5);
    await confirm('', ids[1], ids[3]);
    await confirm(ids[0]!);
    expect(await acked(ids)).toEqual([true, true, false, true, false]);
    await confirm('', ids[2]);
    expect(await fields()).toEqual({});
    expect(await acked(ids)).toEqual([true, true, true, true, false]);
    expect(await isComplete(ids[3]!)).toBe(true);
  });

  test('are a valid cursor if they are the newest of them', async () => {
    const ids = await storeMany(4);
    await confirm('', ids[1], ids[2]);
    expect(await isComplete(ids[2]!)).toBe(true);
    expect(await idsOf()).toEqual([ids[3]]);
  });

  test('do not acknowledge an older push that has expired', async () => {
    const [expired] = await storeMany(1, { ttlMs: SOON_MS });
    const ids = await storeMany(2);
    await confirm('', ids[0]);
    await eventually(async () => expect((await read())[0]?.ttlMs).toBeLessThanOrEqual(0));
    await auditShards(link, [CHANNEL], [false], [false], false);
    const newest = await storeId();
    expect(await idsOf()).toEqual([ids[1], newest]);
    await confirm('', ids[1], newest);
    expect(await acked([expired!, ...ids, newest])).toEqual([false, true, true, true]);
    expect(await isComplete(newest)).toBe(true);
  });

  test('take no bytes: an older push stays in the inbox when a newer one is confirmed alone', async () => {
    const bounds = { countMax: 100, bytesMax: 100 };
    const payload = Buffer.alloc(30);
    const oldest = await storeId({ payload }, bounds);
    for (let i = 0; i < 20; i++) {
      const kept = i % 7 === 3;
      const id = await storeId({ payload: Buffer.alloc(kept ? 3 : 30) }, bounds);
      if (!kept) await confirm('', id);
    }
    expect((await idsOf())[0]).toBe(oldest);
    // 30 + 3 * 3 bytes are stored.
    expect(await store({ payload: Buffer.alloc(61) }, bounds)).toMatchObject({ dropped: 0 });
    expect(await store({ payload: Buffer.alloc(1) }, bounds)).toMatchObject({ dropped: 1 });
    expect(await store({ payload: Buffer.alloc(29) }, bounds)).toMatchObject({ dropped: 0 });
  });

  test('the limit on bytes is exact after any history', async () => {
    const bounds = { countMax: 100, bytesMax: 200 };
    for (let i = 0; i < 150; i++) {
      const before = await read();
      const payload = Buffer.alloc((i * 7) % 40);
      const total = before.reduce((sum, entry) => sum + entry.payload.length, payload.length);
      const stored = await store({ payload }, bounds);
      expect((stored as { dropped: number }).dropped > 0).toBe(total > 200);
      const ids = await idsOf();
      const nth = (n: number) => ids[n % ids.length]!;
      if (i % 3 === 0) await confirm('', nth(i * 5), nth(i * 11));
      if (i % 17 === 0) await confirm(nth(i * 3));
    }
  });

  test('leave no trace after the inbox has expired', async () => {
    const [, second] = await storeMany(3, { ttlMs: 60 });
    await confirm('', second);
    await untilExpired(link);
    expect(await acked([second!])).toEqual([false]);
    await storeId();
    expect(await fields()).toEqual({});
  });
});

describe('readInbox', () => {
  const goneOf = async () => {
    const page = await readInbox(link, CHANNEL, 'alice', '', 100);
    return page.type === 'done' && page.reply.gone;
  };

  test('reads entries and the newest missing id atomically, also between two pages', async () => {
    const bounds = { countMax: 2, bytesMax: 1_000 };
    const ids = [await storeId({}, bounds), await storeId({}, bounds)];
    expect(await isComplete(ids[0]!)).toBe(true);
    expect(await goneOf()).toBe('');
    await storeId({}, bounds);
    await storeId({}, bounds);
    expect(await goneOf()).toBe(ids[1]);
  });

  test('the newest id is missing after the inbox expired, and none if there was no inbox', async () => {
    expect(await goneOf()).toBe('');
    const id = await storeId({ ttlMs: 20 });
    await untilExpired(link);
    expect(await goneOf()).toBe(id);
  });
});

describe('wrong clocks', () => {
  afterEach(() => {
    jest.restoreAllMocks();
  });

  test.each([-3_600_000, -90_000, 90_000, 3_600_000])(
    'the rest of a TTL does not depend on the clock of this machine (%d ms)',
    async (aheadMs) => {
      const id = await storeId({ ttlMs: 60_000 });
      const now = jest.spyOn(Date, 'now').mockReturnValue(Date.now() + aheadMs);
      try {
        const [entry] = await read();
        expect(entry!.id).toBe(id);
        expect(entry!.ttlMs).toBeGreaterThan(50_000);
        expect(entry!.ttlMs).toBeLessThanOrEqual(60_000);
      } finally {
        now.mockRestore();
      }
    },
  );

  test('ids grow also when the clock of Redis was set back after an inbox has expired', async () => {
    const before = `${Date.now() + 3_600_000}-7`;
    await link.commands.hset(`${CHANNEL}:ack:alice`, { last: before, acked: before });
    const ids = [await storeId(), await storeId()];
    expect(ids).toEqual([before.replace(/-7$/, '-8'), before.replace(/-7$/, '-9')]);
    expect(await isComplete(before)).toBe(true);
    expect(await idsOf()).toEqual(ids);
  });

  test('an evicted inbox goes on above the floor, also before a clock is known as set back', async () => {
    const at = jest.spyOn(link.idFloor, 'at').mockReturnValue(0);
    for (const clientId of ['alice', 'bob']) await storeId({ clientId });
    const floorMs = Date.now() + 3_600_000;
    at.mockReturnValue(floorMs);
    await link.commands.del(`${CHANNEL}:in:alice`, `${CHANNEL}:ack:alice`);
    expect([await storeId(), await storeId()]).toEqual([`${floorMs}-0`, `${floorMs}-1`]);
    // The clock of this master may be behind that of another one: that costs nothing.
    expect(Number.parseInt(await storeId({ clientId: 'bob' }), 10)).toBeLessThan(
      floorMs - 3_000_000,
    );
  });

  test('no id is below the floor, in any inbox, and nothing else changes', async () => {
    const before = await storeId();
    let floorMs = Date.now() + 3_600_000;
    jest.spyOn(link.idFloor, 'at').mockImplementation(() => floorMs);
    jest.spyOn(link.idFloor, 'isRaised', 'get').mockReturnValue(true);
    const bounds = { countMax: 4, bytesMax: 10 };
    const ids = [];
    for (let i = 0; i < 5; i++) ids.push(await storeId({ payload: Buffer.from(`${i}`) }, bounds));
    expect(ids).toEqual([0, 1, 2, 3, 4].map((n) => `${floorMs}-${n}`));
    expect(await storeId({ clientId: 'bob' }, bounds)).toBe(`${floorMs}-0`);
    // The inbox had one push too many.
    expect(await idsOf()).toEqual(ids.slice(1));
    expect((await read()).every(({ isCorrupt }) => !isCorrupt)).toBe(true);
    expect(await isComplete(before)).toBe(false);
    expect(await isComplete(ids[3]!)).toBe(true);
    expect(await idsOf()).toEqual([ids[4]]);
    floorMs += 1_000;
    expect(await storeId()).toBe(`${floorMs}-0`);
    // Several at once, of which one has been stored before.
    const keyed = pushOf({ idempotencyKey: 'k' });
    const outcomes = await storePushes(link, [keyed, keyed, pushOf({ clientId: 'carol' })], AMPLE);
    expect(outcomes).toMatchObject([
      { reply: { id: `${floorMs}-1` } },
      { reply: { firstId: `${floorMs}-1` } },
      { reply: { id: `${floorMs}-0` } },
    ]);
  });

  test('the mark of a loss lies between the pushes before it and those after it', async () => {
    const known = `${Date.now() + 3_599_000}-0`;
    await link.commands.xadd(`${CHANNEL}:in:alice`, known, 'p', 'kept');
    await link.commands.hset(`${CHANNEL}:ack:alice`, { last: known, acked: known });
    jest.spyOn(link.idFloor, 'at').mockReturnValue(Date.now() + 3_600_000);
    jest.spyOn(link.idFloor, 'isRaised', 'get').mockReturnValue(true);
    const later = await storeId();
    await storeId();
    await markLostHistory(link, CHANNEL, 'counter:1-0', 0);
    expect(await isComplete(known)).toBe(false);
    expect(await isComplete(later)).toBe(true);
  });
});

test.each(['', '-', '1', '1-', '-1', '$', '>', '+', '1-2-3', '1-2 ', '१-२', `${'9'.repeat(16)}-0`])(
  '%j is not a message id',
  (text) => {
    expect(isMessageId(text)).toBe(false);
  },
);
