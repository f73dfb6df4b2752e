import { expect, test } from '@jest/globals';
import { RedisClocks } from '../../../edge/shards/redis-clocks.js';

const HOUR_MS = 3_600_000;

test.each([0, HOUR_MS, -HOUR_MS])('measures by the clock of Redis, which is %d ms ahead', (ms) => {
  const clocks = new RedisClocks(4);
  const redisMs = 1_700_000_000_000 + ms;
  clocks.observe(3, redisMs, 5_000);
  expect(clocks.elapsedMs(3, redisMs, 5_000)).toBe(0);
  expect(clocks.elapsedMs(3, redisMs - 7_000, 5_000)).toBe(7_000);
  expect(clocks.elapsedMs(3, redisMs, 6_500)).toBe(1_500);
  expect(clocks.elapsedMs(3, redisMs + 20, 5_000)).toBe(-20);
});

test('nothing is known of a shard without messages, nor of a time in the future', () => {
  const clocks = new RedisClocks(4);
  expect(clocks.elapsedMs(0, 1_000, 1_000)).toBe(Number.POSITIVE_INFINITY);
  clocks.observe(0, 1_000, 1_000);
  expect(clocks.elapsedMs(0, 1_000 + HOUR_MS, 1_000)).toBe(Number.POSITIVE_INFINITY);
});

test('follows the clock of Redis when it is set', () => {
  const clocks = new RedisClocks(4);
  clocks.observe(0, 1_000_000, 0);
  clocks.observe(0, 1_000_000 - HOUR_MS, 100);
  expect(clocks.elapsedMs(0, 1_000_000 - HOUR_MS, 600)).toBe(500);
});
