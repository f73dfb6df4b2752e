/**
 * Goal: one control leads, and another takes over however the first one ends.
 * Method: real Redis; a killed control is modelled by ending its renewals.
 */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { RedisNames } from '../../../common/redis/redis-names.js';
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
  const changes: string[] = [];
  const name = (leader: Leader) =>
    leader.type === 'other' ? `${leader.control.id} at ${leader.control.url}` : leader.type;
  const leadership = new Leadership({
    link: { commands: redis, names: new RedisNames('') },
    identity: { id, url: `http://${id}:7200` },
    incarnation,
    onChange: (leader) => changes.push(name(leader)),
    log: pino({ level: 'silent' }),
  });
  open.push(leadership);
  return { leadership, redis, changes, leader: () => name(leadership.leader) };
}

test('the first control leads, and the second takes over at once when the first stops', async () => {
  const first = start('control-1');
  await eventually(() => first.leader() === 'self');
  const second = start('control-2');
  await eventually(() => second.leader() === 'control-1 at http://control-1:7200');
  await first.leadership.close();
  await eventually(() => second.leader() === 'self', 3_000);
  expect(first.changes.at(-1)).toBe('none');
});

test('another control leads within ten seconds after the death of the leader', async () => {
  const first = start('control-1');
  await eventually(() => first.leader() === 'self');
  const second = start('control-2');
  first.redis.disconnect();
  await eventually(() => second.leader() === 'self', 10_000);
  expect(first.leader()).toBe('none');
});

test('another control leads after the clock of Redis was set back and the leader has died', async () => {
  const first = start('control-1');
  await eventually(() => first.leader() === 'self');
  const second = start('control-2');
  await eventually(() => second.leader() === 'control-1 at http://control-1:7200');
  first.redis.disconnect();
  // As after a step of -3600 s.
  await observer.pexpire(KEY, 3_600_000);
  await eventually(() => second.leader() === 'self', 12_000);
});

test('a leader without Redis stops leading before another control can get the lock', async () => {
  const first = start('control-1');
  await eventually(() => first.leader() === 'self');
  first.redis.disconnect();
  await eventually(() => first.leader() === 'none', 10_000);
  expect(await observer.get(KEY)).not.toBeNull();
});

test('a restarted control waits for the lock of its previous process', async () => {
  const first = start('control-1');
  await eventually(() => first.leader() === 'self');
  const again = start('control-1', 'i2');
  await eventually(() => again.leader() === 'control-1 at http://control-1:7200');
});

test('garbage in the lock expires like the lock of any leader', async () => {
  await observer.set(KEY, 'garbage', 'PX', 2_500);
  const first = start('control-1');
  await eventually(() => first.leader() === 'unknown at ');
  await eventually(() => first.leader() === 'self', 5_000);
});
