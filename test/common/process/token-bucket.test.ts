import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { TokenBucket } from '../../../common/process/token-bucket.js';

test('allows a burst of one second’s tokens, then the configured rate', () => {
  const bucket = new TokenBucket(10, 0);
  const taken = (nowMs: number) => {
    let count = 0;
    while (bucket.take(nowMs)) count++;
    return count;
  };
  expect(taken(0)).toBe(10);
  expect(taken(99)).toBe(1);
  expect(taken(1_099)).toBe(10);
  expect(taken(3_600_000)).toBe(10);
});

test('a call may take more than is left and leaves a debt', () => {
  const bucket = new TokenBucket(10, 0);
  expect(bucket.take(0, 25)).toBe(true);
  expect(bucket.take(1_500)).toBe(false);
  expect(bucket.take(1_600)).toBe(true);
});

test('grants at most its rate, one burst and the last call over any time', () => {
  const calls = fc.array(fc.tuple(fc.nat(500), fc.integer({ min: 1, max: 20 })));
  fc.assert(
    fc.property(calls, (steps) => {
      const bucket = new TokenBucket(10, 0);
      let nowMs = 0;
      let given = 0;
      for (const [waitMs, count] of steps) {
        nowMs += waitMs;
        if (bucket.take(nowMs, count)) given += count;
      }
      expect(given).toBeLessThanOrEqual(10 + nowMs / 100 + 20);
    }),
  );
});

test('a clock that goes backwards grants nothing', () => {
  const bucket = new TokenBucket(1, 1_000);
  expect(bucket.take(1_000)).toBe(true);
  expect(bucket.take(0)).toBe(false);
});
