import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { type Assignment, encodeAssignment, NO_OWNER } from '../../../common/cluster/assignment.js';
import {
  NOTHING_STORED,
  readAssignment,
  readPosition,
  writeAssignment,
} from '../../../common/cluster/assignment-store.js';
import { RedisNames } from '../../../common/redis/redis-names.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';

const KEY = 'll:assignment';
const names = new RedisNames('');

let server: TestRedis;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
beforeEach(() => redis.flushall());
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

const at = (incarnation: number, epoch: number): Assignment => ({
  position: { incarnation, epoch },
  edges: [
    { id: 'edge-1', incarnation: 'i1', advertisedUrl: 'http://edge-1:7000', intent: 'none' },
    { id: 'edge-2', incarnation: 'i2', advertisedUrl: 'http://edge-2:7000', intent: 'cordoned' },
  ],
  owners: Uint16Array.of(0, 1, NO_OWNER, 1),
  moves: [{ shard: 1, from: 'edge-2', to: 'edge-1', phase: 'acquiring' }],
  isBalancing: true,
});

const write = async (assignment: Assignment, expected: string): Promise<string> => {
  const result = await writeAssignment({ commands: redis, names }, assignment, expected);
  return result.type === 'committed' ? result.digest : result.type;
};

test('reads none before the first write, and then the written assignment', async () => {
  expect(await readAssignment({ commands: redis, names }, 4)).toEqual({ type: 'none' });
  const digest = await write(at(0, 1), NOTHING_STORED);
  const first = { type: 'assignment', assignment: at(0, 1), digest };
  expect(await readAssignment({ commands: redis, names }, 4)).toEqual(first);
});

test('an assignment that is stored unchanged is not decoded again', async () => {
  const digest = await write(at(0, 1), NOTHING_STORED);
  const known = { assignment: at(0, 1), digest };
  const again = await readAssignment({ commands: redis, names }, 4, known);
  expect(again).toEqual({ type: 'assignment', ...known });
  expect(again.type === 'assignment' && again.assignment).toBe(known.assignment);
  const next = await write(at(0, 2), digest);
  const changed = await readAssignment({ commands: redis, names }, 4, known);
  expect(changed).toEqual({ type: 'assignment', assignment: at(0, 2), digest: next });
});

test('reads the position without the rest', async () => {
  expect(await readPosition({ commands: redis, names })).toBeUndefined();
  await write(at(3, 7), NOTHING_STORED);
  expect(await readPosition({ commands: redis, names })).toEqual({ incarnation: 3, epoch: 7 });
  await redis.set(KEY, 'no hash');
  expect(await readPosition({ commands: redis, names })).toBeUndefined();
});

test('writes only if the stored assignment is the expected one', async () => {
  const first = await write(at(0, 1), NOTHING_STORED);
  for (const expected of [NOTHING_STORED, 'other']) {
    expect(await write(at(0, 2), expected)).toBe('conflict');
  }
  expect(await readAssignment({ commands: redis, names }, 4)).toMatchObject({
    assignment: at(0, 1),
    digest: first,
  });
  const second = await write(at(1, 2), first);
  expect(await readAssignment({ commands: redis, names }, 4)).toMatchObject({
    assignment: at(1, 2),
    digest: second,
  });
});

test('does not write over another assignment with the same position', async () => {
  const first = await write(at(0, 1), NOTHING_STORED);
  // Redis loses the write, and another control writes in its place.
  await redis.del(KEY);
  await write({ ...at(0, 1), isBalancing: false }, NOTHING_STORED);
  expect(await write(at(0, 2), first)).toBe('conflict');
});

test('one of several concurrent writers wins', async () => {
  const results = await Promise.all(
    Array.from({ length: 10 }, () =>
      writeAssignment({ commands: redis, names }, at(0, 1), NOTHING_STORED),
    ),
  );
  expect(results.filter(({ type }) => type === 'committed')).toHaveLength(1);
  expect(results.filter(({ type }) => type === 'conflict')).toHaveLength(9);
});

test('writes after SCRIPT FLUSH', async () => {
  const first = await write(at(0, 1), NOTHING_STORED);
  await redis.script('FLUSH');
  expect(await write(at(0, 2), first)).not.toBe('conflict');
});

test.each<[string, () => Promise<unknown>]>([
  ['a value of another type', () => redis.set(KEY, 'hello')],
  ['a missing field', () => redis.hset(KEY, { incarnation: 0, epoch: 1 })],
  [
    'a table that cannot be decoded',
    () => redis.hset(KEY, { incarnation: 0, epoch: 1, table: '\xff' }),
  ],
  [
    'another shard count',
    () =>
      writeAssignment(
        { commands: redis, names },
        { ...at(0, 1), owners: new Uint16Array(8) },
        NOTHING_STORED,
      ),
  ],
])('reports %s as invalid', async (_, store) => {
  await store();
  expect(await readAssignment({ commands: redis, names }, 4)).toEqual({
    type: 'invalid',
    reason: expect.any(String),
  });
});

test('reports that Redis is unavailable', async () => {
  const unreachable = new Redis({ port: 1, enableOfflineQueue: false, retryStrategy: () => null });
  unreachable.on('error', () => {});
  const unavailable = { type: 'unavailable', reason: expect.any(String) };
  expect(await readAssignment({ commands: unreachable, names }, 4)).toEqual(unavailable);
  expect(await writeAssignment({ commands: unreachable, names }, at(0, 1), NOTHING_STORED)).toEqual(
    unavailable,
  );
  unreachable.disconnect();
});

test('any flipped bit of the stored assignment is found', async () => {
  const digest = await write(at(0, 1), NOTHING_STORED);
  const stored = (await redis.hgetBuffer(KEY, 'table'))!;
  for (let bit = 0; bit < 8 * stored.length; bit++) {
    const table = Buffer.from(stored);
    table[bit >> 3]! ^= 1 << (bit & 7);
    await redis.hset(KEY, 'table', table);
    const read = await readAssignment({ commands: redis, names }, 4);
    expect(read).toMatchObject({ type: 'corrupt', reason: 'its checksum is wrong' });
    // Its digest is that of the corrupt bytes, so that it can be replaced.
    expect(read).not.toMatchObject({ digest });
  }
  for (const [field, value] of [
    ['epoch', '3'],
    ['incarnation', 'x'],
  ] as const) {
    await redis.hset(KEY, { table: stored, incarnation: '0', epoch: '1', [field]: value });
    expect(await readAssignment({ commands: redis, names }, 4)).toMatchObject({ type: 'corrupt' });
  }
});

test('an assignment that an earlier version has written is read; its fields are compared', async () => {
  await redis.hset(KEY, { table: encodeAssignment(at(0, 1)), incarnation: '0', epoch: '1' });
  expect(await readAssignment({ commands: redis, names }, 4)).toMatchObject({
    type: 'assignment',
    assignment: at(0, 1),
  });
  await redis.hset(KEY, 'epoch', '7');
  expect(await readAssignment({ commands: redis, names }, 4)).toMatchObject({ type: 'invalid' });
});
