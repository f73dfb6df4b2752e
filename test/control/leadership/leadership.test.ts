/**
 * Goal: one control leads, and another takes over however the first one ends.
 * Method: real Redis; a killed control is modelled by ending its renewals.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { RedisNames } from '../../../common/redis/redis-names.js';
import { type Leader, Leadership } from '../../../control/leadership/leadership.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { eventually } from '../../support/eventually.js';

let server: TestRedis;
let observer: Redis;
const connections: Redis[] = [];
const open: Leadership[] = [];
let clusters = 0;

beforeAll(async () => {
  server = await startRedis();
  observer = new Redis(server.url);
});
afterAll(async () => {
  for (const leadership of open) await leadership.close();
  for (const redis of connections) redis.disconnect();
  observer.disconnect();
  await server.stop();
});

/** The controls of a cluster of its own: the tests wait for locks at the same time. */
function newCluster() {
  const names = new RedisNames(`cluster-${++clusters}`);
  const start = (id: string, incarnation = 'i1') => {
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
      link: { commands: redis, names },
      identity: { id, url: `http://${id}:7200` },
      incarnation,
      onChange: (leader) => changes.push(name(leader)),
      log: pino({ level: 'silent' }),
    });
    open.push(leadership);
    return { leadership, redis, changes, leader: () => name(leadership.leader) };
  };
  return { start, lock: names.leader };
}

/**
 * Repeats a change of the leader until one is in time: a busy machine may delay one, and what takes
 * too long by itself does so each time.
 */
const untilOneIsInTime = (change: () => Promise<void>) => eventually(change);

test.concurrent('the first control leads, and the second takes over at once when the first stops', async () => {
  await untilOneIsInTime(async () => {
    const { start } = newCluster();
    const first = start('control-1');
    await eventually(() => first.leader() === 'self');
    const second = start('control-2');
    await eventually(() => second.leader() === 'control-1 at http://control-1:7200');
    await first.leadership.close();
    await eventually(() => second.leader() === 'self', 3_000);
    expect(first.changes.at(-1)).toBe('none');
  });
});

test.concurrent('another control leads within ten seconds after the death of the leader', async () => {
  await untilOneIsInTime(async () => {
    const { start } = newCluster();
    const first = start('control-1');
    await eventually(() => first.leader() === 'self');
    const second = start('control-2');
    first.redis.disconnect();
    await eventually(() => second.leader() === 'self', 10_000);
    expect(first.leader()).toBe('none');
  });
});

test.concurrent('another control leads after the clock of Redis was set back and the leader has died', async () => {
  const { start, lock } = newCluster();
  const first = start('control-1');
  await eventually(() => first.leader() === 'self');
  const second = start('control-2');
  await eventually(() => second.leader() === 'control-1 at http://control-1:7200');
  first.redis.disconnect();
  // As after a step of -3600 s.
  await observer.pexpire(lock, 3_600_000);
  await eventually(() => second.leader() === 'self');
});

test.concurrent('a leader without Redis stops leading before another control can get the lock', async () => {
  const { start, lock } = newCluster();
  const first = start('control-1');
  await eventually(() => first.leader() === 'self');
  first.redis.disconnect();
  await eventually(() => first.leader() === 'none');
  expect(await observer.get(lock)).not.toBeNull();
});

test.concurrent('a restarted control waits for the lock of its previous process', async () => {
  const { start } = newCluster();
  const first = start('control-1');
  await eventually(() => first.leader() === 'self');
  const again = start('control-1', 'i2');
  await eventually(() => again.leader() === 'control-1 at http://control-1:7200');
});

test.concurrent('garbage in the lock expires like the lock of any leader', async () => {
  const { start, lock } = newCluster();
  await observer.set(lock, 'garbage', 'PX', 2_500);
  const first = start('control-1');
  await eventually(() => first.leader() === 'unknown at ');
  await eventually(() => first.leader() === 'self');
});
