/** The list of blocks in Redis: reading by version, times, and its bound. */
import { expect, test } from '@jest/globals';
import {
  addBlock,
  addRevocation,
  BLOCKS_MAX,
  REVOCATIONS_MAX,
  readBlocks,
  removeBlock,
  removeRevocation,
} from '../../../common/cluster/blocks.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { useRedis } from '../../support/cluster/redis-link.js';

const HOUR_MS = 3_600_000;

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

async function read(known = '') {
  const outcome = await readBlocks(link, known);
  if (outcome.type !== 'done') throw new Error(outcome.reason);
  return outcome.reply;
}

const done = (reply: unknown) => ({ type: 'done', reply });

test('an empty list is read once', async () => {
  expect(await read()).toEqual({ version: '', list: undefined });
});

test('blocks are read with the time that they still last, and only when they have changed', async () => {
  expect(await addBlock(link, 'alice/phone', HOUR_MS)).toEqual(done(true));
  const first = await read();
  expect(first.list!.blocks).toEqual([{ name: 'alice/phone', remainingMs: expect.any(Number) }]);
  const { remainingMs } = first.list!.blocks[0]!;
  expect(remainingMs).toBeGreaterThan(HOUR_MS - 60_000);
  expect(remainingMs).toBeLessThanOrEqual(HOUR_MS);
  expect(await read(first.version)).toEqual({ version: first.version, list: undefined });
  await addBlock(link, 'bob', HOUR_MS);
  const second = await read(first.version);
  expect(second.list!.blocks.map(({ name }) => name).sort()).toEqual(['alice/phone', 'bob']);
});

test('a removed block, and one that is over, are not read', async () => {
  await addBlock(link, 'alice', HOUR_MS);
  const { version } = await read();
  expect(await removeBlock(link, 'alice')).toEqual(done(true));
  expect((await read(version)).list!.blocks).toEqual([]);
  expect(await removeBlock(link, 'alice')).toEqual(done(false));
  await addBlock(link, 'bob', HOUR_MS);
  await link.commands.hset(link.names.blocks, 'bob', '1000');
  expect((await read()).list!.blocks).toEqual([]);
  expect(await removeBlock(link, 'bob')).toEqual(done(false));
});

test('a full list takes no further name, but longer times, and names when others are over', async () => {
  const fields: Record<string, string> = {};
  for (let i = 0; i < BLOCKS_MAX - 1; i++) fields[`name-${i}`] = '9999999999999';
  await link.commands.hset(link.names.blocks, fields);
  expect(await addBlock(link, 'last', HOUR_MS)).toEqual(done(true));
  expect(await addBlock(link, 'one more', HOUR_MS)).toEqual(done(false));
  expect(await addBlock(link, 'last', 2 * HOUR_MS)).toEqual(done(true));
  await link.commands.hset(link.names.blocks, 'name-0', '1000');
  expect(await addBlock(link, 'one more', HOUR_MS)).toEqual(done(true));
  expect((await read()).list!.blocks).toHaveLength(BLOCKS_MAX);
});

test('revocations are read with their time, also when they are old, and never get earlier', async () => {
  await addBlock(link, 'alice', HOUR_MS);
  expect(await addRevocation(link, 'alice', 5_000)).toEqual(done(5_000));
  expect(await addRevocation(link, 'alice', 4_000)).toEqual(done(5_000));
  const { version } = await read();
  expect(await addRevocation(link, '', 6_000)).toEqual(done(6_000));
  const { list } = await read(version);
  expect(list!.blocks.map(({ name }) => name)).toEqual(['alice']);
  expect(list!.revocations).toEqual(
    expect.arrayContaining([
      { user: 'alice', beforeMs: 5_000 },
      { user: '', beforeMs: 6_000 },
    ]),
  );
  expect(await removeRevocation(link, 'alice')).toEqual(done(true));
  expect(await removeRevocation(link, 'alice')).toEqual(done(false));
  expect((await read()).list!.revocations).toEqual([{ user: '', beforeMs: 6_000 }]);
});

test('without a time, tokens of this second are revoked, and none can be in the future', async () => {
  const [seconds] = await link.commands.time();
  const { reply } = (await addRevocation(link, 'alice', undefined)) as { reply: number };
  expect(reply % 1_000).toBe(0);
  expect(reply).toBeGreaterThanOrEqual(Number(seconds) * 1_000);
  expect(await addRevocation(link, 'alice', reply + HOUR_MS)).toEqual(done('future'));
});

test('a full list of revocations takes later times, and one for all users', async () => {
  const fields: Record<string, string> = {};
  for (let i = 0; i < REVOCATIONS_MAX; i++) fields[`\u0001user-${i}`] = '1000';
  await link.commands.hset(link.names.blocks, fields);
  expect(await addRevocation(link, 'one more', 2_000)).toEqual(done('full'));
  expect(await addRevocation(link, 'user-7', 2_000)).toEqual(done(2_000));
  expect(await addRevocation(link, '', 2_000)).toEqual(done(2_000));
  expect(await addBlock(link, 'alice', HOUR_MS)).toEqual(done(true));
  expect((await read()).list!.revocations).toHaveLength(REVOCATIONS_MAX + 1);
});
