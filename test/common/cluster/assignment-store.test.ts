import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { type Assignment, NO_OWNER } from '../../../common/cluster/assignment.js';
import { readAssignment, writeAssignment } from '../../../common/cluster/assignment-store.js';
import { ORIGIN } from '../../../common/wire/position.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';

const KEY = 'll:assignment';

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

test('reads none before the first write, and then the written assignment', async () => {
  expect(await readAssignment(redis, 4)).toEqual({ type: 'none' });
  expect(await writeAssignment(redis, at(0, 1), ORIGIN)).toEqual({ type: 'committed' });
  expect(await readAssignment(redis, 4)).toEqual({ type: 'assignment', assignment: at(0, 1) });
});

test('writes only if the stored position is the expected one', async () => {
  await writeAssignment(redis, at(0, 1), ORIGIN);
  for (const expected of [ORIGIN, { incarnation: 0, epoch: 2 }, { incarnation: 1, epoch: 1 }]) {
    expect(await writeAssignment(redis, at(0, 2), expected)).toEqual({ type: 'conflict' });
  }
  expect(await readAssignment(redis, 4)).toEqual({ type: 'assignment', assignment: at(0, 1) });
  expect(await writeAssignment(redis, at(1, 2), { incarnation: 0, epoch: 1 })).toEqual({
    type: 'committed',
  });
});

test('one of several concurrent writers wins', async () => {
  const results = await Promise.all(
    Array.from({ length: 10 }, () => writeAssignment(redis, at(0, 1), ORIGIN)),
  );
  expect(results.filter(({ type }) => type === 'committed')).toHaveLength(1);
  expect(results.filter(({ type }) => type === 'conflict')).toHaveLength(9);
});

test('writes after SCRIPT FLUSH', async () => {
  await writeAssignment(redis, at(0, 1), ORIGIN);
  await redis.script('FLUSH');
  const result = await writeAssignment(redis, at(0, 2), { incarnation: 0, epoch: 1 });
  expect(result).toEqual({ type: 'committed' });
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
    () => writeAssignment(redis, { ...at(0, 1), owners: new Uint16Array(8) }, ORIGIN),
  ],
  [
    'fields that differ from the position in the table',
    () => writeAssignment(redis, at(0, 1), ORIGIN).then(() => redis.hset(KEY, 'epoch', 7)),
  ],
  [
    'an incarnation that is not a number',
    () => writeAssignment(redis, at(0, 1), ORIGIN).then(() => redis.hset(KEY, 'incarnation', 'x')),
  ],
])('reports %s as invalid', async (_, store) => {
  await store();
  expect(await readAssignment(redis, 4)).toEqual({ type: 'invalid', reason: expect.any(String) });
});

test('reports that Redis is unavailable', async () => {
  const unreachable = new Redis({ port: 1, enableOfflineQueue: false, retryStrategy: () => null });
  unreachable.on('error', () => {});
  const unavailable = { type: 'unavailable', reason: expect.any(String) };
  expect(await readAssignment(unreachable, 4)).toEqual(unavailable);
  expect(await writeAssignment(unreachable, at(0, 1), ORIGIN)).toEqual(unavailable);
  unreachable.disconnect();
});
