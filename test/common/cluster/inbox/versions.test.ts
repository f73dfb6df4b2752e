/**
 * Goal: an update from the version before, or back to it, loses no stored push, nor does the time
 * in which routers of both versions push to the same inboxes. Method: `push-before.lua` is the
 * script of that version. Both scripts change the same inboxes on a real Redis, in an order drawn
 * from a seed, and a model tells what must be in them.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { pushChecksum } from '../../../../common/cluster/history/checksums.js';
import { readInbox } from '../../../../common/cluster/history/inbox-read.js';
import { type InboxBounds, storePush } from '../../../../common/cluster/inbox/push.js';
import { confirmInbox, HISTORY_MS } from '../../../../common/cluster/inbox.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { useRedis } from '../../../support/cluster/redis-link.js';

const CHANNEL = 'll:{7}';
const SCRIPT_BEFORE = readFileSync(new URL('./push-before.lua', import.meta.url), 'utf8');

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

interface Push {
  readonly payload: Buffer;
  readonly idempotencyKey?: string;
  readonly ttlMs?: number;
}
type Store = (push: Push, bounds: InboxBounds) => Promise<{ id: string; dropped: number }>;

const storeNow: Store = async ({ payload, idempotencyKey = '', ttlMs = 60_000 }, bounds) => {
  const envelope = Buffer.from('e');
  const push = { channel: CHANNEL, clientId: 'alice', envelope, payload, contentType: '' };
  const outcome = await storePush(link, { ...push, ttlMs, idempotencyKey }, bounds);
  if (outcome.type !== 'done') throw new Error(outcome.reason);
  const { reply } = outcome;
  if (reply.type === 'invalid') throw new Error(reply.code);
  return reply.type === 'stored' ? reply : { id: reply.firstId, dropped: 0 };
};

const storeBefore: Store = async ({ payload, idempotencyKey = '', ttlMs = 60_000 }, bounds) => {
  const keys = ['seq', 'in:alice', 'ack:alice'].map((name) => `${CHANNEL}:${name}`);
  if (idempotencyKey !== '') keys.push(`${CHANNEL}:idem:alice\0${idempotencyKey}`);
  const keptMs = Math.max(ttlMs, HISTORY_MS);
  const limits = [ttlMs, bounds.countMax, bounds.bytesMax, keptMs, keptMs];
  const args = [CHANNEL, 'e', payload, ...limits, '', pushChecksum('alice', '', payload)];
  const run = link.execute<[number, string, number, number]>;
  const outcome = await run('eval', [SCRIPT_BEFORE, keys.length, ...keys, ...args]);
  if (outcome.type !== 'done') throw new Error(outcome.reason);
  return { id: outcome.reply[1], dropped: outcome.reply[3] ?? 0 };
};

async function entries() {
  const page = await readInbox(link, CHANNEL, 'alice', '', 1_000);
  if (page.type !== 'done') throw new Error(page.reason);
  expect(page.reply.entries.some(({ isCorrupt }) => isCorrupt)).toBe(false);
  return page.reply.entries;
}

test.each([1, 2, 3, 4])(
  'both versions keep the bounds of an inbox exactly, seed %d',
  async (seed) => {
    let state = seed;
    const random = (below: number) => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((state / 2 ** 31) * below);
    };
    const bounds = { countMax: 12, bytesMax: 200 };
    let model: { id: string; bytes: number }[] = [];
    for (let i = 0; i < 200; i++) {
      const bytes = random(40);
      const store = random(3) === 0 ? storeBefore : storeNow;
      const { id, dropped } = await store({ payload: Buffer.alloc(bytes, 'p') }, bounds);
      const sum = () => model.reduce((total, entry) => total + entry.bytes, bytes);
      let expected = 0;
      for (; model.length >= 12 || sum() > 200; expected++) model.shift();
      expect({ i, dropped }).toEqual({ i, dropped: expected });
      model.push({ id, bytes });
      const upTo = random(4) === 0 ? model[random(model.length)]!.id : '';
      const singles = random(3) === 0 ? [model[random(model.length)]!.id] : [];
      if (upTo !== '' || singles.length > 0) {
        await confirmInbox(link, CHANNEL, 'alice', upTo, singles);
        const upToAt = model.findIndex((entry) => entry.id === upTo);
        model = model.slice(upToAt + 1).filter((entry) => !singles.includes(entry.id));
      }
      const read = await entries();
      expect(read.map((entry) => entry.id)).toEqual(model.map((entry) => entry.id));
    }
  },
);

test('an inbox of the version before is read on, and its keys keep their time to live', async () => {
  const ample = { countMax: 100, bytesMax: 10_000 };
  const week = 7 * HISTORY_MS;
  const ids = [
    (await storeBefore({ payload: Buffer.from('one'), ttlMs: week }, ample)).id,
    (await storeNow({ payload: Buffer.from('two') }, ample)).id,
    (await storeBefore({ payload: Buffer.from('three') }, ample)).id,
  ];
  expect((await entries()).map(({ id, payload }) => [id, payload.toString()])).toEqual([
    [ids[0], 'one'],
    [ids[1], 'two'],
    [ids[2], 'three'],
  ]);
  for (const key of ['in', 'ack']) {
    const ttlMs = await link.commands.pttl(`${CHANNEL}:${key}:alice`);
    expect(ttlMs).toBeGreaterThan(week - 60_000);
  }
});

test('an idempotency key of one version is known to the other', async () => {
  const ample = { countMax: 100, bytesMax: 10_000 };
  const push = (idempotencyKey: string) => ({ payload: Buffer.from('p'), idempotencyKey });
  const { id: first } = await storeBefore(push('a'), ample);
  const { id: second } = await storeNow(push('b'), ample);
  expect((await storeNow(push('a'), ample)).id).toBe(first);
  expect((await storeBefore(push('b'), ample)).id).toBe(second);
  expect((await entries()).map(({ id }) => id)).toEqual([first, second]);
});
