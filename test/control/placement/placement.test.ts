import { expect, test } from '@jest/globals';
import { NO_OWNER } from '../../../common/cluster/assignment.js';
import { fillJoiners, placeUnownedShards } from '../../../control/placement/placement.js';
import { ProjectedLoads } from '../../../control/placement/projected-loads.js';
import { contentOf, loadsOf } from '../planning/plan-inputs.js';

test('a joining edge gets the shards that the ring prefers for it, within the targets of all edges', () => {
  const loads = loadsOf(Array.from({ length: 4096 }, (_, shard) => 10 + (shard % 3)));
  const content = contentOf(5, 4096);
  const projectedOf = (owners: Uint16Array, count: number) => {
    const edges = content.edges.map(({ id }, index) => {
      return { id, capacity: 1_000_000, isEligible: index < count };
    });
    return new ProjectedLoads(edges, owners, loads);
  };
  const all = projectedOf(content.owners, 5);
  placeUnownedShards(all);
  // The last edge dies and returns.
  const without = projectedOf(
    all.owners.map((owner) => (owner === 4 ? NO_OWNER : owner)),
    4,
  );
  placeUnownedShards(without);
  const back = projectedOf(without.owners, 5);
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

test('unowned shards go to edges with room, and to the coldest edge if none has room', () => {
  const loads = loadsOf([50, 50, 50, 50]);
  const edges = [
    { id: 'a', capacity: 60, isEligible: true },
    { id: 'b', capacity: 100, isEligible: true },
    { id: 'c', capacity: 1_000, isEligible: false },
  ];
  const projected = new ProjectedLoads(edges, new Uint16Array(4).fill(NO_OWNER), loads);
  placeUnownedShards(projected);
  expect([...projected.owners].filter((owner) => owner === 2)).toEqual([]);
  expect(projected.connections[0]! + projected.connections[1]!).toBe(200);
  const withRoom = new ProjectedLoads(edges, Uint16Array.of(NO_OWNER, 0, 1, 2), loads);
  placeUnownedShards(withRoom);
  expect(withRoom.owners[0]).toBe(1);
});
