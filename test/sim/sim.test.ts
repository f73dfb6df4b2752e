/**
 * Goal: whatever happens to edges, controls and messages, the table stays sound, no shard is left
 * unheard by a planned move, and the cluster comes to rest.
 * Method: the real machines in a model cluster with a virtual clock; every seed is one history.
 * `npm run sim` runs more of them.
 */
import { expect, test } from '@jest/globals';
import { chaosRound } from './chaos.js';
import {
  cutFromRedis,
  efficiency,
  leaderDeaths,
  movesWhenRedisIsGone,
  movesWhenStationary,
  rollingRestartChurn,
} from './measurements.js';

const ROUNDS = 60;

test('nothing that must hold is violated in rounds of chaos', () => {
  const failed: string[] = [];
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const { violations } = chaosRound(seed);
    if (violations.length > 0) failed.push(`seed ${seed}: ${violations[0]}`);
  }
  expect(failed).toEqual([]);
});

test('the same seed is the same history', () => {
  expect(chaosRound(7)).toEqual(chaosRound(7));
});

test('notices a store that does not compare before it sets', () => {
  const sabotaged = [1, 2, 3, 4, 5].flatMap((seed) => {
    const { violations } = chaosRound(seed, (world) => {
      world.store.isBlind = true;
    });
    return violations;
  });
  expect(sabotaged.join()).toMatch(/the position did not grow/);
});

test('nothing moves while nothing happens', () => {
  expect(movesWhenStationary(1)).toBe(0);
});

test('edges that restart in place keep their shards', () => {
  expect(rollingRestartChurn(1)).toBeLessThanOrEqual(0.02);
});

test('what a leader has begun to even out is finished, whoever dies in between', () => {
  for (const seed of [1, 2, 3]) expect(leaderDeaths(seed)).toBeLessThanOrEqual(1.05);
});

test('an edge that is cut from Redis only loses its shards, and gets its share again', () => {
  const { left, regained } = cutFromRedis(1);
  expect(left).toBe(0);
  expect(regained).toBeGreaterThan(0.8);
  expect(regained).toBeLessThan(1.2);
});

test('nothing moves when all edges are cut from Redis', () => {
  expect(movesWhenRedisIsGone(1)).toBe(0);
});

test('moves little more than any rebalancer must', () => {
  const { uniform, skewed, join, leave, maxOverReachable } = efficiency(1);
  expect(uniform).toBeLessThanOrEqual(1.1);
  expect(skewed).toBeLessThanOrEqual(1.3);
  expect(join).toBeLessThanOrEqual(1.05);
  expect(leave).toBeLessThanOrEqual(1.05);
  expect(Math.max(...maxOverReachable)).toBeLessThanOrEqual(1.05);
});
