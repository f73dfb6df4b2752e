import { expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { parseMemTotal, parseOpenFiles, readMachine } from '../../../cli/doctor/readings.js';
import type { ClockOffset } from '../../../common/process/time/clock-offset.js';
import { parseSubscriberBuffer } from '../../../common/redis/requirements.js';
import { startRedis } from '../../support/cluster/redis.js';

test('reads the hard limit of open files, to which Node.js raises the soft limit', () => {
  const limits =
    'Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 20000                files     \n';
  expect(parseOpenFiles(limits)).toBe(20_000);
  expect(parseOpenFiles(limits.replace('20000', 'unlimited'))).toBe(Infinity);
  expect(parseOpenFiles('nonsense')).toBeUndefined();
});

test('reads memory and the buffer limit of subscribers', () => {
  expect(parseMemTotal('MemTotal:       24000000 kB\nMemFree: 1 kB\n')).toBe(24_000_000 * 1024);
  expect(
    parseSubscriberBuffer('normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60'),
  ).toEqual([33_554_432, 8_388_608, 60]);
});

test('reads this machine and a real Redis', async () => {
  const redis = await startRedis(['--maxmemory', '100mb']);
  try {
    const client = new Redis(redis.url);
    await client.xadd('ll:clocks', '*', 'p', 'edge-1', 'o', '-90000.0', 'e', '3.0');
    client.disconnect();
    const readings = await readMachine(redis.url);
    expect(readings.redis).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+$/),
      subscriberBuffer: [33_554_432, 8_388_608, 60],
      maxmemoryBytes: 104_857_600,
      maxmemoryPolicy: 'noeviction',
      evictedKeys: 0,
      isReplica: false,
      appendOnly: false,
      clocks: [
        { process: 'this machine', offsetMs: expect.any(Number), errorMs: expect.any(Number) },
        { process: 'edge-1', offsetMs: -90_000, errorMs: 3 },
      ],
    });
    const { clocks } = readings.redis as { clocks: readonly ClockOffset[] };
    // Both read the clock of this machine, which has whole milliseconds here.
    expect(Math.abs(clocks[0]!.offsetMs)).toBeLessThanOrEqual(clocks[0]!.errorMs + 2);
  } finally {
    await redis.stop();
  }
});

test('an unreachable Redis is a reading, too', async () => {
  const { redis } = await readMachine('redis://127.0.0.1:1');
  expect(redis).toEqual({ unreachable: expect.any(String) });
});

test.each([
  ['redis://:hunter2%@localhost', 'write % as %25'],
  ['localhost:6379', 'starts with redis://'],
])('says what is wrong with the URL %s', async (url, problem) => {
  const { redis } = await readMachine(url);
  expect(redis).toEqual({ unreachable: expect.stringContaining(problem) });
  expect(JSON.stringify(redis)).not.toContain('hunter2');
});
