/**
 * **Goal:** one control leads, another takes over, whatever ends the first.
 * **Method:** real Redis; a control that is killed is one whose renewals stop.
 */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { type Leader, Leadership } from '../../../control/leadership/leadership.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { eventually } from '../../support/eventually.js';

const KEY = 'll:leader';

let server: TestRedis;
let observer: Redis;
const connections: Redis[] = [];
const open: Leadership[] = [];

beforeEach(async () => {
  server = await startRedis();
  observer = new Redis(server.url);
});
afterEach(async () => {
  for (const leadership of open.splice(0)) await leadership.close();
  for (const redis of connections.splice(0)) redis.disconnect();
  observer.disconnect();
  await server.stop();
});

function start(id: string, incarnation = 'i1') {
  const redis = new Redis(server.url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => 100,
  });
  redis.on('error', () => {});
  connections.push(redis);
  const said: string[] = [];
  const name = (leader: Leader) =>
    leader.type === 'other' ? `${leader.control.id} at ${leader.control.url}` : leader.type;
  const leadership = new Leadership(
    redis,
    { id, url: `http://${id}:7200` },
    incarnation,
    (leader) => said.push(name(leader)),
    pino({ level: 'silent' }),
  );
  open.push(leadership);
  return { leadership, redis, said, leader: () => name(leadership.leader) };
}

test('the first leads, the second knows it, and takes over at once when the first stops', async () => {
  const first = start('control-1');
  await eventually(() => first.leader() === 'me');
  const second = start('control-2');
  await eventually(() => second.leader() === 'control-1 at http://control-1:7200');
  await first.leadership.close();
  await eventually(() => second.leader() === 'me', 3_000);
  expect(first.said.at(-1)).toBe('nobody');
});

test('after the death of the leader another leads within ten seconds', async () => {
  const first = start('control-1');
  await eventually(() => first.leader() === 'me');
  const second = start('control-2');
  first.redis.disconnect();
  await eventually(() => second.leader() === 'me', 10_000);
  expect(first.leader()).toBe('nobody');
});

test('a leader without Redis stops to lead before another can have the lock', async () => {
  const first = start('control-1');
  await eventually(() => first.leader() === 'me');
  first.redis.disconnect();
  await eventually(() => first.leader() === 'nobody', 10_000);
  expect(await observer.get(KEY)).not.toBeNull();
});

test('a control that starts anew waits for the lock of the process before', async () => {
  const first = start('control-1');
  await eventually(() => first.leader() === 'me');
  const again = start('control-1', 'i2');
  await eventually(() => again.leader() === 'control-1 at http://control-1:7200');
});

test('garbage in the lock is waited for like any other leader', async () => {
  await observer.set(KEY, 'garbage', 'PX', 2_500);
  const first = start('control-1');
  await eventually(() => first.leader() === 'unknown at ');
  await eventually(() => first.leader() === 'me', 5_000);
});
