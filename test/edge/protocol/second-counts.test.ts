import { expect, test } from '@jest/globals';
import { connectionOf } from '../../../common/transport/transport.js';
import { SecondCounts } from '../../../edge/protocol/second-counts.js';

test('counts by connection, until cleared', () => {
  const counts = new SecondCounts();
  const [near, far] = [connectionOf(3, 1), connectionOf(5_000, 1)];
  counts.set(near, 7);
  counts.set(far, 9);
  expect([counts.get(near), counts.get(far), counts.get(connectionOf(4, 1))]).toEqual([7, 9, 0]);
  counts.clear();
  expect([counts.get(near), counts.get(far)]).toEqual([0, 0]);
});

test('a reused slot starts at zero', () => {
  const counts = new SecondCounts();
  counts.set(connectionOf(3, 1), 7);
  counts.forget(connectionOf(3, 1));
  counts.forget(connectionOf(9_000, 1));
  expect(counts.get(connectionOf(3, 2))).toBe(0);
});
