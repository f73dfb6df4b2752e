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

test('the burst bounds what is taken at once, and whole tokens are taken together', () => {
  const bucket = new TokenBucket(10, 0, 5);
  expect(bucket.takeWhole(0)).toBe(5);
  expect(bucket.takeWhole(199)).toBe(1);
  expect(bucket.takeWhole(200)).toBe(1);
  expect(bucket.takeWhole(60_000)).toBe(5);
});

test('a new rate counts from the last call', () => {
  const bucket = new TokenBucket(0, 0);
  bucket.setRate(10, 5);
  expect(bucket.takeWhole(200)).toBe(2);
  bucket.setRate(0, 0);
  expect(bucket.takeWhole(60_000)).toBe(0);
});

test('a charge is a debt that takes its time to pay off', () => {
  const bucket = new TokenBucket(10, 0, 0);
  expect(bucket.debtMs(0)).toBe(0);
  bucket.charge(0, 20);
  bucket.charge(0, 5);
  expect(bucket.debtMs(500)).toBe(2_000);
  expect(bucket.debtMs(2_500)).toBe(0);
});
