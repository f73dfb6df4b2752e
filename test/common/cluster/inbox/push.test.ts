/**
 * The state that one push leaves in Redis for the next, and pushes that are stored together, on a
 * real Redis.
 */
import { describe, expect, test } from '@jest/globals';
import { readInbox } from '../../../../common/cluster/history/inbox-read.js';
import { type StorePush, storePush, storePushes } from '../../../../common/cluster/inbox/push.js';
import { UNCOUNTED_AFTER_MS } from '../../../../common/cluster/ledger/left.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { replyOf, useRedis } from '../../../support/cluster/redis-link.js';

const CHANNEL = 'll:{7}';
const INBOX = `${CHANNEL}:in:alice`;
const ACK = `${CHANNEL}:ack:alice`;

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

/** Stores ten bytes. */
async function store(ttlMs: number, bounds = { countMax: 100, bytesMax: 1_000_000 }) {
  const payload = Buffer.alloc(10, 'p');
  const push = { channel: CHANNEL, clientId: 'alice', contentType: '', idempotencyKey: '' };
  const stored = await storePush(link, { ...push, envelope: payload, payload, ttlMs }, bounds);
  if (stored.type !== 'done') throw new Error(stored.reason);
  return stored.reply;
}

const HOUR_MS = 3_600_000;

test('keys get more time to live before they lack it, and not with each push', async () => {
  const expiresAtMs = async () =>
    Promise.all(
      [INBOX, ACK].map(async (key) => Number(await link.commands.call('PEXPIRETIME', key))),
    );
  const redisMs = async () => {
    const [seconds, microseconds] = (await link.commands.time()) as [number, number];
    return 1_000 * Number(seconds) + Math.floor(Number(microseconds) / 1_000);
  };
  const beforeMs = await redisMs();
  await store(HOUR_MS);
  const afterMs = await redisMs();
  const first = await expiresAtMs();
  await store(HOUR_MS - 1);
  expect(await expiresAtMs()).toEqual(first);
  const [inboxMs, ackMs] = first as [number, number];
  // A sixteenth of the TTL longer.
  const livesMs = (HOUR_MS * 17) / 16 + UNCOUNTED_AFTER_MS;
  expect(inboxMs).toBeGreaterThanOrEqual(beforeMs + livesMs);
  expect(inboxMs).toBeLessThanOrEqual(afterMs + livesMs);
  expect(ackMs - inboxMs).toBe(23 * HOUR_MS - UNCOUNTED_AFTER_MS);
  await store(HOUR_MS + 1);
  const last = await expiresAtMs();
  expect(last.every((atMs, i) => atMs > first[i]!)).toBe(true);
});

test('a flipped bit in what one push leaves to the next neither loses nor keeps a push', async () => {
  const bounds = { countMax: 4, bytesMax: 45 };
  for (let i = 0; i < 4; i++) await store(HOUR_MS, bounds);
  // By seven, so that each bit of a byte is among them.
  for (let bit = 0; ; bit += 7) {
    const held = (await link.commands.hgetBuffer(ACK, 'held'))!;
    if (bit >= 8 * held.length) break;
    held[bit >> 3]! ^= 1 << (bit & 7);
    await link.commands.hset(ACK, 'held', held);
    expect({ bit, ...(await store(HOUR_MS, bounds)) }).toMatchObject({ bit, dropped: 1 });
  }
  const page = await readInbox(link, CHANNEL, 'alice', '', 100);
  if (page.type !== 'done') throw new Error(page.reason);
  const { entries } = page.reply;
  expect(entries.map(({ isCorrupt, ttlMs }) => isCorrupt || ttlMs <= 0)).toEqual(
    Array(4).fill(false),
  );
});

describe('pushes that are stored together', () => {
  function pushTo(clientId: string, text: string, changes: Partial<StorePush> = {}): StorePush {
    const payload = Buffer.from(text);
    const rest = {
      channel: CHANNEL,
      clientId,
      contentType: '',
      ttlMs: HOUR_MS,
      idempotencyKey: '',
    };
    return { ...rest, envelope: payload, payload, ...changes };
  }

  async function payloadsOf(clientId: string, channel = CHANNEL): Promise<string[]> {
    const { entries } = replyOf(await readInbox(link, channel, clientId, '', 100));
    expect(entries.some(({ isCorrupt }) => isCorrupt)).toBe(false);
    return entries.map(({ payload }) => payload.toString());
  }

  /** As the test sees them: ids are times. */
  const summary = (outcomes: Awaited<ReturnType<typeof storePushes>>) =>
    outcomes.map((outcome) => {
      if (outcome.type !== 'done') return outcome.reason;
      const { reply } = outcome;
      return reply.type === 'stored' ? reply.dropped : 'duplicate';
    });

  test('are stored in their order, in the inboxes of all their shards', async () => {
    const other = 'll:{8}';
    const outcomes = await storePushes(
      link,
      [
        pushTo('alice', 'one'),
        pushTo('bob', 'two', { channel: other, contentType: 'text/plain' }),
        pushTo('alice', 'three'),
        pushTo('alice', 'four', { ttlMs: 2 * HOUR_MS }),
      ],
      { countMax: 100, bytesMax: 1_000_000 },
    );
    expect(summary(outcomes)).toEqual([0, 0, 0, 0]);
    expect(await payloadsOf('alice')).toEqual(['one', 'three', 'four']);
    expect(await payloadsOf('bob', other)).toEqual(['two']);
    const counters = [CHANNEL, other].map((channel) => link.commands.get(`${channel}:seq`));
    expect(await Promise.all(counters)).toEqual(['3', '1']);
  });

  test('keep the bounds of each inbox as pushes do that are stored alone', async () => {
    const bounds = { countMax: 5, bytesMax: 60 };
    // To the clients of one half together, to those of the other half alone.
    let state = 7;
    const random = (below: number) => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((state / 2 ** 31) * below);
    };
    for (let round = 0; round < 40; round++) {
      const drawn = Array.from({ length: 1 + random(8) }, () => ({
        name: `${random(3)}`,
        text: 'p'.repeat(random(30)),
        changes: {
          ttlMs: [HOUR_MS, HOUR_MS / 2, 2 * HOUR_MS][random(3)]!,
          idempotencyKey: random(4) === 0 ? `key-${random(6)}` : '',
        },
      }));
      const toHalf = (half: string) =>
        drawn.map(({ name, text, changes }) => pushTo(`${half}-${name}`, text, changes));
      const together = await storePushes(link, toHalf('together'), bounds);
      const alone: (typeof together)[number][] = [];
      for (const push of toHalf('alone')) alone.push(await storePush(link, push, bounds));
      expect({ round, stored: summary(together) }).toEqual({ round, stored: summary(alone) });
      for (const name of ['0', '1', '2']) {
        expect(await payloadsOf(`together-${name}`)).toEqual(await payloadsOf(`alone-${name}`));
      }
    }
  });

  test('are stored although Redis fails for one of them', async () => {
    await link.commands.set(`${CHANNEL}:ack:mallory`, 'not a hash');
    const keyed = { idempotencyKey: 'k' };
    const outcomes = await storePushes(
      link,
      [
        pushTo('mallory', 'lost'),
        pushTo('alice', 'one', keyed),
        pushTo('mallory', 'lost'),
        pushTo('alice', 'again', keyed),
      ],
      { countMax: 100, bytesMax: 1_000_000 },
    );
    const failed = { type: 'unknown', reason: expect.stringMatching(/^WRONGTYPE/) };
    const id = expect.stringMatching(/^\d+-\d+$/);
    expect(outcomes).toEqual([
      failed,
      { type: 'done', reply: { type: 'stored', id, receivers: 0, dropped: 0 } },
      failed,
      { type: 'done', reply: { type: 'duplicate', firstId: id } },
    ]);
    expect(await payloadsOf('alice')).toEqual(['one']);
  });

  test('are all rejected by a Redis that is full', async () => {
    await link.commands.config('SET', 'maxmemory', '1');
    const outcomes = await storePushes(link, [pushTo('alice', 'one'), pushTo('bob', 'two')], {
      countMax: 100,
      bytesMax: 1_000_000,
    });
    await link.commands.config('SET', 'maxmemory', '0');
    const rejected = { type: 'rejected', reason: expect.stringMatching(/^OOM/) };
    expect(outcomes).toEqual([rejected, rejected]);
    expect(await link.commands.dbsize()).toBe(0);
  });
});
