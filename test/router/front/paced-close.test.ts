import { expect, test } from '@jest/globals';
import { PacedClose } from '../../../router/front/paced-close.js';

test('closes a batch evenly over its period, each device once', () => {
  const pacedClose = new PacedClose();
  pacedClose.add(1_000, [1, 2, 3, 4], 2_000);
  expect(pacedClose.take(1_000)).toEqual([]);
  expect(pacedClose.take(1_999)).toEqual([1]);
  expect(pacedClose.take(2_500)).toEqual([2, 3]);
  expect(pacedClose.take(2_500)).toEqual([]);
  expect(pacedClose.take(9_000)).toEqual([4]);
  expect(pacedClose.take(9_999)).toEqual([]);
});

test('closes a batch without a period at once, and batches side by side', () => {
  const pacedClose = new PacedClose();
  pacedClose.add(0, [1, 2], 1_000);
  pacedClose.add(0, [3, 4], 0);
  pacedClose.add(0, [], 0);
  expect(pacedClose.take(500)).toEqual([1, 3, 4]);
  expect(pacedClose.take(1_000)).toEqual([2]);
});
