import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { buildRing, type RingNode } from '../../../control/placement/ring.js';

const SHARDS = 4096;

const ids = fc.uniqueArray(fc.stringMatching(/^[a-z0-9-]{1,12}$/), { minLength: 2, maxLength: 12 });

function firstChoices(nodes: readonly RingNode[]): string[] {
  const ring = buildRing(nodes);
  return Array.from({ length: SHARDS }, (_, shard) => [...ring.preference(shard)][0]!);
}

const equal = (names: readonly string[]) => names.map((id) => ({ id, weight: 1 }));

test('two rings agree on every shard, in any order of joining', () => {
  const members = ids.chain((all) =>
    fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })),
  );
  fc.assert(
    fc.property(members, ([some, shuffled]) => {
      expect(firstChoices(equal(shuffled))).toEqual(firstChoices(equal(some)));
    }),
    { numRuns: 20 },
  );
});

test('removing a node changes only its own shards', () => {
  fc.assert(
    fc.property(ids, fc.nat(), (names, pick) => {
      const removed = names[pick % names.length]!;
      const before = firstChoices(equal(names));
      const after = firstChoices(equal(names.filter((id) => id !== removed)));
      const strays = before.filter((owner, shard) => owner !== removed && owner !== after[shard]);
      // A contested point falls back to the higher id, which rarely changes a shard.
      expect(strays.length).toBeLessThanOrEqual(2);
    }),
    { numRuns: 20 },
  );
});

test('a preference lists every node once, and its start does not depend on how far it is read', () => {
  fc.assert(
    fc.property(ids, fc.nat(SHARDS - 1), (names, shard) => {
      const preference = [...buildRing(equal(names)).preference(shard)];
      expect([...preference].sort()).toEqual([...names].sort());
      const [first] = buildRing(equal(names)).preference(shard);
      expect(first).toBe(preference[0]);
    }),
    { numRuns: 50 },
  );
});

test('the preference of an empty ring is empty', () => {
  expect([...buildRing([]).preference(7)]).toEqual([]);
});

test('equal nodes get roughly equal numbers of shards', () => {
  const counts = countBy(firstChoices(equal(['edge-0', 'edge-1', 'edge-2', 'edge-3'])));
  expect(Math.max(...counts.values())).toBeLessThan((SHARDS / 4) * 1.2);
});

test('a node of twice the weight gets roughly twice the shards', () => {
  const nodes = [
    { id: 'edge-0', weight: 2 },
    { id: 'edge-1', weight: 1 },
    { id: 'edge-2', weight: 1 },
  ];
  const heavy = countBy(firstChoices(nodes)).get('edge-0')!;
  expect(heavy / SHARDS).toBeGreaterThan(0.43);
  expect(heavy / SHARDS).toBeLessThan(0.57);
});

function countBy(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}
