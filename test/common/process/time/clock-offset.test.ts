import { expect, test } from '@jest/globals';
import {
  describeOffset,
  isWrong,
  measureOffset,
} from '../../../../common/process/time/clock-offset.js';

test('half of the round trip is the error bound', () => {
  // Sent at 1,000 and received at 1,200 by this clock; the server's is 90 s ahead.
  for (const answeredAtMs of [1_000, 1_100, 1_200]) {
    const { offsetMs, errorMs } = measureOffset(answeredAtMs + 90_000, 200, 1_200);
    expect(errorMs).toBe(100);
    expect(Math.abs(offsetMs - 90_000)).toBeLessThanOrEqual(errorMs);
  }
});

test.each([
  [0, 10, false],
  [5_000, 0, false],
  [5_001, 0, true],
  [-5_001, 0, true],
  [6_000, 1_000, false],
  [-3_600_000, 2_000, true],
])('%d ms ± %d ms is certainly wrong: %s', (offsetMs, errorMs, expected) => {
  expect(isWrong({ offsetMs, errorMs })).toBe(expected);
});

test('says in which direction', () => {
  expect(describeOffset({ offsetMs: 90_400, errorMs: 1 })).toBe('90 s ahead of');
  expect(describeOffset({ offsetMs: -3_600_000, errorMs: 1 })).toBe('3600 s behind');
});
