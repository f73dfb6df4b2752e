import { expect, test } from '@jest/globals';
import { LetGo } from '../../../router/front/paced-close.js';

test('lets a batch go evenly over its time, each once', () => {
  const letGo = new LetGo();
  letGo.add(1_000, [1, 2, 3, 4], 2_000);
  expect(letGo.take(1_000)).toEqual([]);
  expect(letGo.take(1_999)).toEqual([1]);
  expect(letGo.take(2_500)).toEqual([2, 3]);
  expect(letGo.take(2_500)).toEqual([]);
  expect(letGo.take(9_000)).toEqual([4]);
  expect(letGo.take(9_999)).toEqual([]);
});

test('lets all go at once that have no time, and batches beside each other', () => {
  const letGo = new LetGo();
  letGo.add(0, [1, 2], 1_000);
  letGo.add(0, [3, 4], 0);
  letGo.add(0, [], 0);
  expect(letGo.take(500)).toEqual([1, 3, 4]);
  expect(letGo.take(1_000)).toEqual([2]);
});
