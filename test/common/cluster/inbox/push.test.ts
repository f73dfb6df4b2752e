/** The state that one push leaves in Redis for the next, on a real Redis. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { readInbox } from '../../../../common/cluster/history/inbox-read.js';
import { storePush } from '../../../../common/cluster/inbox/push.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { type LinkedRedis, startLinkedRedis } from '../../../support/cluster/redis-link.js';

const CHANNEL = 'll:{7}';
const INBOX = `${CHANNEL}:in:alice`;
const ACK = `${CHANNEL}:ack:alice`;

let linked: LinkedRedis;
let link: RedisLink;

beforeAll(async () => {
  linked = await startLinkedRedis();
  ({ link } = linked);
});

afterAll(() => linked?.stop());

beforeEach(async () => {
  await link.commands.flushall();
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
  const stored = await store(HOUR_MS);
  const storedAtMs = Number.parseInt(stored.type === 'stored' ? stored.id : '', 10);
  const first = await expiresAtMs();
  await store(HOUR_MS - 1);
  expect(await expiresAtMs()).toEqual(first);
  const [inboxMs, ackMs] = first.map((atMs) => atMs - storedAtMs);
  // A sixteenth of the TTL longer; two reads of the clock may differ by a millisecond.
  expect(inboxMs! - (HOUR_MS * 17) / 16).toBeLessThanOrEqual(1);
  expect(inboxMs! - (HOUR_MS * 17) / 16).toBeGreaterThanOrEqual(-1);
  expect(ackMs! - inboxMs!).toBe(23 * HOUR_MS);
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
