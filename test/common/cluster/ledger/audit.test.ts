/**
 * Goal: the ledger of a shard balances after any sequence of pushes, confirmations and losses, and
 * says what is missing where it does not. Method: the scripts of the inbox against a real Redis,
 * and its own counters against a model's.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  type InboxBounds,
  type StorePush,
  storePush,
} from '../../../../common/cluster/inbox/push.js';
import { storeTogether } from '../../../../common/cluster/inbox/push-together.js';
import { confirmInbox, resumeInbox } from '../../../../common/cluster/inbox.js';
import { type AuditReply, auditShards } from '../../../../common/cluster/ledger/audit.js';
import { skipPush } from '../../../../common/cluster/undelivered.js';
import {
  type LinkedRedis,
  replyOf,
  startLinkedRedis,
} from '../../../support/cluster/redis-link.js';
import { CHANNEL, pushOf } from '../../../support/cluster/stored-push.js';
import { eventually } from '../../../support/eventually.js';

const BOUNDS: InboxBounds = { countMax: 5, bytesMax: 1_000 };
const CLIENTS = ['alice', 'bob/phone', 'bob/web'];

let linked: LinkedRedis;
let link: LinkedRedis['link'];

beforeAll(async () => {
  linked = await startLinkedRedis();
  ({ link } = linked);
});
afterAll(() => linked?.stop());
beforeEach(async () => {
  await link.commands.flushall();
});

/** By default, by a control that has audited the shard when it was empty. */
const audit = async (wasEmpty = true, isMixed = false) =>
  replyOf((await auditShards(link, [CHANNEL], [wasEmpty], [true], isMixed))[0]!);

async function store(changes: Partial<StorePush> = {}): Promise<string> {
  const stored = replyOf(await storePush(link, pushOf(changes), BOUNDS));
  if (stored.type === 'invalid') throw new Error(stored.code);
  return stored.type === 'stored' ? stored.id : stored.firstId;
}

const waitingOf = async () =>
  (await Promise.all(CLIENTS.map((id) => link.commands.xlen(`${CHANNEL}:in:${id}`)))).reduce(
    (a, b) => a + b,
  );

const operation = fc.record({
  type: fc.constantFrom(
    'push',
    'push',
    'push',
    'collapse',
    'together',
    'repeat',
    'confirm',
    'single',
    'resume',
    'skip',
    'audit',
  ),
  client: fc.constantFrom(...CLIENTS),
  nth: fc.nat(7),
});

test('an audit removes so much that has expired, up to the first that has not, and says what is left', async () => {
  const ample = { countMax: 1_000, bytesMax: 1_000_000 };
  // None expires before all are stored: a push removes expired ones, too.
  const ttlMs = 3_000;
  const keep = (changes: Partial<StorePush>) => storePush(link, pushOf(changes), ample);
  const keepMany = (clientId: string, count: number) =>
    Promise.all(Array.from({ length: count }, () => keep({ clientId, ttlMs })));
  await audit();
  for (const clientId of CLIENTS) {
    await keepMany(clientId, 300);
    await keep({ clientId });
    await keepMany(clientId, 3);
  }
  await sleep(ttlMs + 100);
  const swept: AuditReply[] = [];
  do swept.push(await audit());
  while (!swept.at(-1)!.isSwept && swept.length < 20);
  const removed = swept.map(({ expired }, i) => expired - (swept[i - 1]?.expired ?? 0));
  expect(Math.max(...removed)).toBeLessThanOrEqual(150);
  expect(Math.min(...removed.slice(0, -1))).toBeGreaterThan(100);
  expect(swept.at(-1)).toMatchObject({ waiting: 12, missing: 0, accepted: 912 });
});

test('every operation keeps the balance', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 40 }), async (operations) => {
      await link.commands.flushall();
      await audit();
      let [accepted, confirmed, skipped] = [0, 0, 0];
      const ids = new Map(CLIENTS.map((client): [string, string[]] => [client, []]));
      for (const { type, client: clientId, nth } of operations) {
        const of = ids.get(clientId)!;
        const id = of[of.length - 1 - nth];
        if (type === 'push') of.push(await store({ clientId }));
        else if (type === 'collapse')
          of.push(await store({ clientId, combination: { type: 'collapse', key: `${nth % 2}` } }));
        else if (type === 'repeat') {
          const idempotencyKey = `${nth}`;
          const before = await audit();
          await store({ clientId, idempotencyKey });
          accepted += (await audit()).accepted - before.accepted - 1;
        } else if (type === 'together') {
          const shards = [{ channel: CHANNEL, clientIds: CLIENTS }];
          const messages = [{ envelope: Buffer.from('p'), shards }];
          const push = { payload: Buffer.from('p'), contentType: '', ttlMs: 60_000 };
          await storeTogether(link, { ...push, idempotencyKey: '', messages }, BOUNDS);
          accepted += 2;
        } else if (type === 'confirm' && id) {
          confirmed += replyOf(await confirmInbox(link, CHANNEL, clientId, id));
        } else if (type === 'single' && id) {
          confirmed += replyOf(await confirmInbox(link, CHANNEL, clientId, '', [id]));
        } else if (type === 'resume' && id) {
          confirmed += replyOf(await resumeInbox(link, CHANNEL, clientId, id)).confirmed;
        } else if (type === 'skip' && id) {
          skipped += replyOf(await skipPush(link, CHANNEL, clientId, id)) ? 1 : 0;
        } else if (type === 'audit') await audit();
        if (['push', 'collapse', 'together', 'repeat'].includes(type)) accepted++;
      }
      const found = await audit();
      const { evicted, collapsed } = found;
      expect(found).toMatchObject({
        accepted,
        confirmed,
        skipped,
        missing: 0,
        base: 0,
        expired: 0,
      });
      expect(found.waiting).toBe(await waitingOf());
      expect(confirmed + skipped + evicted + collapsed + found.waiting!).toBe(accepted);
    }),
    { numRuns: 60 },
  );
});

test('what has expired is removed and counted, and its inbox ends', async () => {
  const kept = await store({ clientId: 'bob/phone' });
  for (const clientId of ['alice', 'bob/web']) {
    for (let i = 0; i < 3; i++) await store({ clientId, ttlMs: 30 });
  }
  await store({ clientId: 'bob/web' });
  await eventually(async () => expect(await audit()).toMatchObject({ expired: 6, waiting: 2 }));
  expect(await link.commands.xlen(`${CHANNEL}:in:bob/web`)).toBe(1);
  expect(replyOf(await confirmInbox(link, CHANNEL, 'bob/phone', kept))).toBe(1);
  // The key of an inbox lives for a while longer than its pushes.
  await eventually(async () => {
    expect(await audit()).toMatchObject({ confirmed: 1, waiting: 1, missing: 0 });
    expect(await link.commands.exists(`${CHANNEL}:in:alice`)).toBe(0);
  });
  expect(await link.commands.zscore(`${CHANNEL}:wait`, 'alice')).toBeNull();
  // A device that returns learns that it has missed them.
  const reset = await resumeInbox(link, CHANNEL, 'alice', '1-1');
  expect(replyOf(reset).isComplete).toBe(false);
});

test('a push that vanishes is missing once, and one that leaves twice as well', async () => {
  const ids = [await store(), await store(), await store()];
  await link.commands.xdel(`${CHANNEL}:in:alice`, ids[1]!);
  for (let i = 0; i < 2; i++) expect(await audit()).toMatchObject({ missing: 1, waiting: 2 });
  await link.commands.hincrby(`${CHANNEL}:led`, 'confirmed', '3');
  expect(await audit()).toMatchObject({ missing: -2, accepted: 3 });
});

test('pushes from before the first audit are in no column until they leave', async () => {
  const ids = [await store(), await store()];
  // As a version without a ledger has stored them.
  await link.commands.del(`${CHANNEL}:wait`);
  expect(await audit(false)).toMatchObject({ accepted: 0, base: 2, waiting: 0 });
  await confirmInbox(link, CHANNEL, 'alice', ids[0]!);
  expect(await audit()).toMatchObject({ accepted: 1, confirmed: 1, base: 1, missing: 0 });
  await confirmInbox(link, CHANNEL, 'alice', ids[1]!);
  expect(await audit()).toMatchObject({ accepted: 2, confirmed: 2, base: 0, missing: 0 });
});

test('while such a version runs, nothing is missing', async () => {
  const id = await store();
  await link.commands.xdel(`${CHANNEL}:in:alice`, id);
  expect(await audit(true, true)).toMatchObject({ accepted: 0, base: 1, missing: 0 });
});

test('inboxes that Redis itself has removed have expired if there was no audit meanwhile', async () => {
  await store();
  await audit();
  await link.commands.del(`${CHANNEL}:in:alice`);
  const [seconds] = await link.commands.time();
  const elevenMinutesAgo = 1_000 * Number(seconds) - 11 * 60_000;
  await link.commands.hset(`${CHANNEL}:led`, 'at', `${elevenMinutesAgo}`);
  expect(await audit()).toMatchObject({ expired: 1, missing: 0 });
});

test('a shard that was never pushed to gets no key', async () => {
  expect(await audit()).toMatchObject({ accepted: 0, waiting: 0, sinceMs: 0 });
  expect(await link.commands.dbsize()).toBe(0);
});
