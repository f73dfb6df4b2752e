import { expect, test } from '@jest/globals';
import { Cooldowns } from '../../../control/planning/cooldowns.js';

test('a shard rests after it was balanced, and its edges from the opposite role', () => {
  const cooldowns = new Cooldowns();
  cooldowns.balanced(0, { shard: 7, from: 'a', to: 'b' });
  expect(cooldowns.isCooling(599_999, 7)).toBe(true);
  expect(cooldowns.isCooling(600_000, 7)).toBe(false);
  expect(cooldowns.isCooling(0, 8)).toBe(false);
  expect([cooldowns.mayGive(0, 'a'), cooldowns.mayReceive(119_999, 'a')]).toEqual([true, false]);
  expect([cooldowns.mayGive(119_999, 'b'), cooldowns.mayReceive(0, 'b')]).toEqual([false, true]);
  expect([cooldowns.mayReceive(120_000, 'a'), cooldowns.mayGive(120_000, 'b')]).toEqual([
    true,
    true,
  ]);
});

test('an edge that was filled gives nothing for a while', () => {
  const cooldowns = new Cooldowns();
  cooldowns.filled(0, 'a');
  expect(cooldowns.mayGive(119_999, 'a')).toBe(false);
  expect(cooldowns.mayReceive(0, 'a')).toBe(true);
});

test('an edge that has not acquired is not asked for a minute', () => {
  const cooldowns = new Cooldowns();
  cooldowns.failed(0, 'a');
  expect(cooldowns.hasFailed(59_999, 'a')).toBe(true);
  expect(cooldowns.hasFailed(60_000, 'a')).toBe(false);
});
