/** Whether a history is proven after Redis has lost keys, against a real Redis. */
import { expect, test } from '@jest/globals';
import { readInbox } from '../../../../common/cluster/history/inbox-read.js';
import { LOSS_MS, markLostHistory } from '../../../../common/cluster/history/lost-history.js';
import { readPosition } from '../../../../common/cluster/inbox/position.js';
import { storePush } from '../../../../common/cluster/inbox/push.js';
import { confirmInbox, MARK_AGE_MS, resumeInbox } from '../../../../common/cluster/inbox.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { replyOf, useRedis } from '../../../support/cluster/redis-link.js';
import { eventually } from '../../../support/eventually.js';

const CHANNEL = 'll:{7}';
const INBOX = `${CHANNEL}:in:alice`;
const ACK = `${CHANNEL}:ack:alice`;
const MARK = `${CHANNEL}:lost`;
const DAY_MS = 24 * 60 * 60 * 1_000;

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

async function storeId(): Promise<string> {
  const push = {
    channel: CHANNEL,
    clientId: 'alice',
    envelope: Buffer.alloc(0),
    payload: Buffer.from('p'),
    contentType: '',
    ttlMs: 60_000,
    idempotencyKey: '',
  };
  const stored = replyOf(await storePush(link, push, { countMax: 100, bytesMax: 1_000_000 }));
  if (stored.type !== 'stored') throw new Error('it is a duplicate');
  return stored.id;
}

/** Within the same millisecond, Redis would assign the id again: it has forgotten the client. */
async function untilAfter(id: string): Promise<void> {
  await eventually(async () => {
    const [seconds, micros] = (await link.commands.time()).map(Number) as [number, number];
    return seconds * 1_000 + Math.floor(micros / 1_000) > Number.parseInt(id, 10);
  });
}

const read = async (after: string) => replyOf(await readInbox(link, CHANNEL, 'alice', after, 100));
const isProven = async (after: string) => (await read(after)).isProven;
const isComplete = async (cursor: string) =>
  replyOf(await resumeInbox(link, CHANNEL, 'alice', cursor)).isComplete;
const position = async () => replyOf(await readPosition(link, CHANNEL, 'alice'));
const mark = async (cause = 'evicted:a:1', noticedMsAgo = 0) =>
  replyOf(await markLostHistory(link, CHANNEL, cause, noticedMsAgo));

test('an id that was sent is proven while Redis knows it', async () => {
  const ids = [await storeId(), await storeId(), await storeId()];
  for (const id of ids) expect(await isProven(id)).toBe(true);
  await confirmInbox(link, CHANNEL, 'alice', ids[1]!);
  // Also one that another connection has confirmed since.
  for (const id of ids) expect(await isProven(id)).toBe(true);
  await confirmInbox(link, CHANNEL, 'alice', ids[2]!);
  for (const id of ids) expect(await isProven(id)).toBe(true);
  expect(await isProven('')).toBe(true);
});

test('an evicted inbox is a gap, also after the next push', async () => {
  const ids = [await storeId(), await storeId()];
  await link.commands.del(INBOX);
  expect(await read(ids[0]!)).toMatchObject({ entries: [], gone: ids[1] });
  expect(await isComplete(ids[0]!)).toBe(false);
  const later = await storeId();
  expect(await read(ids[0]!)).toMatchObject({ entries: [{ id: later }], gone: ids[1] });
  expect(await isComplete(ids[0]!)).toBe(false);
  expect(await isComplete(ids[1]!)).toBe(true);
});

test('without both keys nothing is proven, also after the next push', async () => {
  const id = await storeId();
  await link.commands.del(INBOX, ACK);
  expect(await isProven(id)).toBe(false);
  expect(await isComplete(id)).toBe(false);
  await untilAfter(id);
  await storeId();
  expect(await isProven(id)).toBe(false);
  expect(await isComplete(id)).toBe(false);
});

test('without the ack hash, the stored pushes prove themselves', async () => {
  const id = await storeId();
  await link.commands.del(ACK);
  expect(await isProven(id)).toBe(true);
});

test('a connection that was quiet for more than a day is proven: its keys have expired', async () => {
  const old = `${Date.now() - DAY_MS - 60_000}-0`;
  expect(await isProven(old)).toBe(true);
  await mark();
  expect(await isProven(old)).toBe(false);
});

test('a start without an id is unproven after a mark, for as long as a push can live', async () => {
  await mark();
  expect(await isProven('')).toBe(false);
  await link.commands.set(MARK, `${Date.now() - LOSS_MS - 120_000}-0 evicted:a:1`);
  expect(await isProven('')).toBe(true);
});

test('a mark is written once per cause, and has no TTL', async () => {
  expect(await mark()).toBe(true);
  const first = await link.commands.get(MARK);
  expect(await mark()).toBe(false);
  expect(await link.commands.get(MARK)).toBe(first);
  expect(await mark('evicted:a:2')).toBe(true);
  expect(await link.commands.ttl(MARK)).toBe(-1);
});

test('a mark that was written after a loss was noticed tells it as well', async () => {
  const writtenMsAgo = async (ms: number) => {
    const at = Date.now() - MARK_AGE_MS - ms;
    await link.commands.set(MARK, `${at}-0 evicted:a:9`);
  };
  await writtenMsAgo(5_000);
  expect(await mark('evicted:a:8', 30_000)).toBe(false);
  expect(await link.commands.get(MARK)).toMatch(/ evicted:a:9$/);
  // It was noticed after the mark.
  expect(await mark('evicted:a:8', 1_000)).toBe(true);
  // The clock of Redis was set back: the time of the mark proves nothing.
  await writtenMsAgo(-60_000);
  expect(await mark('evicted:a:8', 30_000)).toBe(true);
  await link.commands.set(MARK, '');
  expect(await mark('evicted:a:8', 30_000)).toBe(true);
});

test('the mark is the position of a client without an inbox, and costs no key', async () => {
  await mark();
  const at = await position();
  expect(await position()).toBe(at);
  expect(await link.commands.exists(ACK, INBOX)).toBe(0);
  expect(await isProven(at)).toBe(true);
  expect(await isComplete(at)).toBe(true);
  const ids = [await storeId(), await storeId()];
  expect((await read(at)).entries.map(({ id }) => id)).toEqual(ids);
  expect(await isComplete(at)).toBe(true);
  await confirmInbox(link, CHANNEL, 'alice', ids[0]!);
  // Older than what the device has confirmed.
  expect(await isComplete(at)).toBe(false);
});

test('the position of an earlier mark proves nothing after the next one', async () => {
  await mark();
  const at = await position();
  await link.commands.set(MARK, '5-0 evicted:a:2');
  expect(await isProven(at)).toBe(false);
  expect(await isComplete(at)).toBe(false);
});

test('after the newest pushes were lost, a known cursor is incomplete until the client was told', async () => {
  const read = async (after: string, isTold: boolean) =>
    replyOf(await readInbox(link, CHANNEL, 'alice', after, 100, isTold));
  const ids = [await storeId(), await storeId()];
  await mark('evicted:a:1');
  expect(await isComplete(ids[0]!)).toBe(true);
  await mark('counter:9:8');
  expect(await isComplete(ids[0]!)).toBe(false);
  await read(ids[0]!, false);
  expect(await isComplete(ids[1]!)).toBe(false);
  await read(ids[0]!, true);
  expect(await isComplete(ids[0]!)).toBe(true);
  expect(await isComplete(ids[1]!)).toBe(true);
  // The next loss.
  await mark('counter:10:8');
  expect(await isComplete(ids[1]!)).toBe(false);
  // An id that is newer than the loss.
  await link.commands.set(MARK, `${Date.now() - MARK_AGE_MS - 5_000}-0 counter:12:8`);
  expect(await isComplete(await storeId())).toBe(true);
});

test('values that are no ids prove nothing and break nothing', async () => {
  const id = await storeId();
  for (const field of ['last', 'acked', 'gone', 'apart']) {
    await link.commands.hset(ACK, field, 'no id');
    expect((await read(id)).entries).toEqual([]);
    expect((await read('')).entries).toHaveLength(1);
  }
  await link.commands.set(MARK, 'no id');
  expect((await read('')).entries).toHaveLength(1);
});
