import { expect, test } from '@jest/globals';
import { Cooldowns } from '../../../control/planning/cooldowns.js';

test('a balancing move starts cooldowns of the shard and of the opposite roles of its edges', () => {
  const cooldowns = new Cooldowns();
  cooldowns.onBalancingMove(0, { shard: 7, from: 'a', to: 'b' });
  expect(cooldowns.isCoolingDown(599_999, 7)).toBe(true);
  expect(cooldowns.isCoolingDown(600_000, 7)).toBe(false);
  expect(cooldowns.isCoolingDown(0, 8)).toBe(false);
  expect([cooldowns.mayGive(0, 'a'), cooldowns.mayReceive(119_999, 'a')]).toEqual([true, false]);
  expect([cooldowns.mayGive(119_999, 'b'), cooldowns.mayReceive(0, 'b')]).toEqual([false, true]);
  expect([cooldowns.mayReceive(120_000, 'a'), cooldowns.mayGive(120_000, 'b')]).toEqual([
    true,
    true,
  ]);
});

test('an edge that was filled may not give for two minutes', () => {
  const cooldowns = new Cooldowns();
  cooldowns.onFillingMove(0, 'a');
  expect(cooldowns.mayGive(119_999, 'a')).toBe(false);
  expect(cooldowns.mayReceive(0, 'a')).toBe(true);
});

test('an edge that has not acquired a shard has failed for one minute', () => {
  const cooldowns = new Cooldowns();
  cooldowns.onAcquireFailed(0, 'a');
  expect(cooldowns.hasRecentlyFailed(59_999, 'a')).toBe(true);
  expect(cooldowns.hasRecentlyFailed(60_000, 'a')).toBe(false);
});
