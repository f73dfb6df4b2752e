import { expect, test } from '@jest/globals';
import { Metrics } from '../../../common/process/metrics.js';
import { Gaps } from '../../../edge/report/gaps.js';

const MINUTE_MS = 60_000;

test('counts the gaps of the last 15 minutes', () => {
  const gaps = new Gaps(new Metrics());
  // The clock does not begin at 0.
  const startMs = 1_000 * MINUTE_MS;
  expect(gaps.countRecent(startMs)).toBe(0);
  gaps.add(startMs);
  gaps.add(startMs + MINUTE_MS);
  gaps.add(startMs + 1.5 * MINUTE_MS);
  expect(gaps.countRecent(startMs + 14.9 * MINUTE_MS)).toBe(3);
  expect(gaps.countRecent(startMs + 15 * MINUTE_MS)).toBe(2);
  gaps.add(startMs + 15.5 * MINUTE_MS);
  expect(gaps.countRecent(startMs + 16 * MINUTE_MS)).toBe(1);
  expect(gaps.countRecent(startMs + 31 * MINUTE_MS)).toBe(0);
});

test('forgets all after a long silence, also in the middle of a round', () => {
  const gaps = new Gaps(new Metrics());
  for (let minute = 0; minute < 20; minute++) gaps.add(minute * MINUTE_MS);
  expect(gaps.countRecent(19 * MINUTE_MS)).toBe(15);
  expect(gaps.countRecent(1_000 * MINUTE_MS)).toBe(0);
  gaps.add(1_000 * MINUTE_MS);
  expect(gaps.countRecent(1_000 * MINUTE_MS)).toBe(1);
});
