import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Assignment, NO_OWNER } from '../../common/assignment.js';
import { Ledger } from '../../control/ledger.js';
import {
  fillJoiners,
  type PlacementEdge,
  placeOrphans,
  placeShards,
} from '../../control/placement.js';
import { contentOf, loadsOf } from './balance-world.js';

const shardCounts = fc.constantFrom(1, 64, 1024);
const id = fc.stringMatching(/^[a-z0-9-]{1,8}$/);
const capacity = fc.integer({ min: 1, max: 200_000 });
const edgesOf = (capacities: fc.Arbitrary<number>, minLength: number) =>
  fc.uniqueArray(fc.record({ id, capacity: capacities }), {
    minLength,
    maxLength: 12,
    selector: (edge) => edge.id,
  });
const weighted = edgesOf(capacity, 1);
const alike = edgesOf(fc.constant(1000), 2);

test('every shard has exactly one owner, which is there', () => {
  fc.assert(
    fc.property(weighted, weighted, shardCounts, (before, now, shardCount) => {
      const owners = placeShards(assign(undefined, before, shardCount), now, shardCount);
      expect(owners).toHaveLength(shardCount);
      expect([...owners].every((owner) => owner < now.length)).toBe(true);
    }),
  );
});

test('shares are within one shard of the fair share by capacity, whatever was before', () => {
  fc.assert(
    fc.property(weighted, weighted, shardCounts, (before, now, shardCount) => {
      const after = assign(assign(undefined, before, shardCount), now, shardCount);
      const capacityTotal = now.reduce((sum, edge) => sum + edge.capacity, 0);
      for (const edge of now) {
        const fair = (shardCount * edge.capacity) / capacityTotal;
        expect(Math.abs(ownedBy(after, edge.id).size - fair)).toBeLessThan(1);
      }
    }),
  );
});

test('three edges of one size have shares within 5 % of each other', () => {
  const edges = ['edge-1', 'edge-2', 'edge-3'].map((name) => ({ id: name, capacity: 50_000 }));
  const table = assign(undefined, edges, 4096);
  const sizes = edges.map((edge) => ownedBy(table, edge.id).size).sort();
  expect(sizes).toEqual([1365, 1365, 1366]);
});

test('nothing moves when nothing changed', () => {
  fc.assert(
    fc.property(weighted, shardCounts, (edges, shardCount) => {
      const table = assign(undefined, edges, shardCount);
      expect(placeShards(table, edges, shardCount)).toEqual(table.owners);
    }),
  );
});

test('a joiner takes exactly its share, and nothing else moves', () => {
  fc.assert(
    fc.property(alike, shardCounts, (edges, shardCount) => {
      const joiner = edges[0]!;
      const before = assign(undefined, edges.slice(1), shardCount);
      const after = assign(before, edges, shardCount);
      expect(movedBetween(before, after)).toEqual(ownedBy(after, joiner.id));
    }),
  );
});

test('a leaver gives away exactly its share, and nothing else moves', () => {
  fc.assert(
    fc.property(alike, shardCounts, (edges, shardCount) => {
      const before = assign(undefined, edges, shardCount);
      const after = assign(before, edges.slice(1), shardCount);
      expect(movedBetween(before, after)).toEqual(ownedBy(before, edges[0]!.id));
    }),
  );
});

test('among edges of any sizes, a leaver costs at most one more shard per edge, for rounding', () => {
  fc.assert(
    fc.property(edgesOf(capacity, 2), shardCounts, (edges, shardCount) => {
      const before = assign(undefined, edges, shardCount);
      const after = assign(before, edges.slice(1), shardCount);
      const unavoidable = ownedBy(before, edges[0]!.id).size;
      const moved = movedBetween(before, after).size;
      expect(moved).toBeGreaterThanOrEqual(unavoidable);
      expect(moved).toBeLessThanOrEqual(unavoidable + edges.length - 1);
    }),
  );
});

test('the order in which edges are listed does not matter', () => {
  const shuffled = weighted.chain((edges) =>
    fc.tuple(fc.constant(edges), fc.shuffledSubarray(edges, { minLength: edges.length })),
  );
  fc.assert(
    fc.property(shuffled, weighted, shardCounts, ([edges, mixed], before, shardCount) => {
      const table = assign(undefined, before, shardCount);
      expect(placeShards(table, mixed, shardCount)).toEqual(placeShards(table, edges, shardCount));
    }),
  );
});

test('an edge that comes back gets mostly the shards that it had', () => {
  const edges = ['a', 'b', 'c', 'd'].map((name) => ({ id: name, capacity: 1 }));
  const before = assign(undefined, edges, 4096);
  const without = assign(before, edges.slice(1), 4096);
  const back = ownedBy(assign(without, edges, 4096), 'a');
  const had = ownedBy(before, 'a');
  expect([...back].filter((shard) => had.has(shard)).length).toBeGreaterThan(had.size * 0.8);
});

test('without edges no shard has an owner', () => {
  expect([...placeShards(undefined, [], 64)]).toEqual(new Array(64).fill(NO_OWNER));
});

function assign(
  previous: Assignment | undefined,
  edges: readonly PlacementEdge[],
  shardCount: number,
): Assignment {
  return {
    position: { incarnation: 0, epoch: 1 },
    edges: [...edges]
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .map(({ id }) => ({ id, incarnation: 'i', advertisedUrl: 'http://h:1', intent: 'none' })),
    owners: placeShards(previous, edges, shardCount),
    moves: [],
  };
}

function ownedBy({ edges, owners }: Assignment, edgeId: string): Set<number> {
  const index = edges.findIndex((edge) => edge.id === edgeId);
  return new Set([...owners.keys()].filter((shard) => owners[shard] === index));
}

function movedBetween(before: Assignment, after: Assignment): Set<number> {
  const name = ({ edges, owners }: Assignment, shard: number) => edges[owners[shard]!]!.id;
  return new Set(
    [...before.owners.keys()].filter((shard) => name(before, shard) !== name(after, shard)),
  );
}

test('a joiner is filled in the order of the ring, within the shares of all', () => {
  const loads = loadsOf(Array.from({ length: 4096 }, (_, shard) => 10 + (shard % 3)));
  const content = contentOf(5, 4096);
  const ledgerOf = (owners: Uint16Array, count: number) => {
    const edges = content.edges.map(({ id }, index) => {
      return { id, capacity: 1_000_000, takesPart: index < count };
    });
    return new Ledger(edges, owners, loads);
  };
  const all = ledgerOf(content.owners, 5);
  placeOrphans(all);
  // The last edge dies, and comes back.
  const without = ledgerOf(
    all.owners.map((owner) => (owner === 4 ? NO_OWNER : owner)),
    4,
  );
  placeOrphans(without);
  const back = ledgerOf(without.owners, 5);
  const moves = fillJoiners(
    back,
    (index) => index === 4,
    () => true,
  );
  expect(back.load[4]).toBeGreaterThan(0.7 * back.targets[4]!);
  expect(back.load[4]).toBeLessThanOrEqual(back.targets[4]!);
  for (const index of [0, 1, 2, 3]) {
    expect(back.load[index]).toBeGreaterThanOrEqual(back.targets[index]! * 0.999);
  }
  const had = moves.filter(({ shard }) => all.owners[shard] === 4);
  expect(had.length).toBeGreaterThan(0.8 * moves.length);
});

test('orphans go to whoever has room for them, and to the coldest if nobody has', () => {
  const loads = loadsOf([50, 50, 50, 50]);
  const edges = [
    { id: 'a', capacity: 60, takesPart: true },
    { id: 'b', capacity: 100, takesPart: true },
    { id: 'c', capacity: 1_000, takesPart: false },
  ];
  const ledger = new Ledger(edges, new Uint16Array(4).fill(NO_OWNER), loads);
  placeOrphans(ledger);
  expect([...ledger.owners].filter((owner) => owner === 2)).toEqual([]);
  expect(ledger.connections[0]! + ledger.connections[1]!).toBe(200);
  const roomy = new Ledger(edges, Uint16Array.of(NO_OWNER, 0, 1, 2), loads);
  placeOrphans(roomy);
  expect(roomy.owners[0]).toBe(1);
});
