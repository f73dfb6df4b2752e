import { expect, test } from '@jest/globals';
import { backoffMs, randomBetween } from '../../../common/process/backoff.js';

const highest = () => 1;

test('the bound of a wait doubles with each failure, up to a maximum', () => {
  const bounds = [1, 2, 3, 7, 1_000].map((failures) => backoffMs(failures, 5_000, highest));
  expect(bounds).toEqual([100, 200, 400, 5_000, 5_000]);
  expect(backoffMs(9, 1_000, highest)).toBe(1_000);
});

test('a wait is anywhere between zero and its bound', () => {
  expect(backoffMs(1, 5_000, () => 0)).toBe(0);
  expect(backoffMs(3, 5_000, () => 0.5)).toBe(200);
});

test('randomBetween returns every integer of its range, both ends included', () => {
  const found = new Set(Array.from({ length: 1_000 }, () => randomBetween(3, 6)));
  expect([...found].sort()).toEqual([3, 4, 5, 6]);
});
