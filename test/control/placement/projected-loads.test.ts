import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { NO_OWNER } from '../../../common/cluster/assignment.js';
import { ProjectedLoads } from '../../../control/placement/projected-loads.js';
import { edgeName, loadsOf } from '../planning/plan-inputs.js';

const edges = (...capacities: number[]) =>
  capacities.map((capacity, index) => ({
    id: edgeName(index),
    capacity: Math.max(1, capacity),
    isEligible: capacity > 0,
  }));

test('targets divide all load by capacity, unowned shards included', () => {
  const projected = new ProjectedLoads(
    edges(100, 300),
    Uint16Array.of(0, 1, NO_OWNER, 1),
    loadsOf([10, 10, 10, 10]),
  );
  expect([...projected.targets]).toEqual([10, 30]);
  expect(projected.ratio(1)).toBeCloseTo(2 / 3);
});

test('a shard above the share is the whole target of its edge, and the others share the rest', () => {
  const owners = Uint16Array.of(0, 0, 1, 1, 2);
  const projected = new ProjectedLoads(edges(100, 100, 100), owners, loadsOf([90, 10, 10, 10, 10]));
  expect([...projected.targets]).toEqual([90, 20, 20]);
  expect(projected.irreducible()).toEqual([0]);
  expect(projected.imbalance().maxOverMean).toBeCloseTo(100 / (130 / 3));
  expect(projected.imbalance().maxOverReachable).toBeCloseTo(100 / 90);
  projected.assign(0, 2);
  expect([...projected.targets]).toEqual([20, 20, 90]);
});

test('an edge that is not eligible has no target, and its shards do not count', () => {
  const projected = new ProjectedLoads(
    edges(100, 100, 0),
    Uint16Array.of(0, 1, 2),
    loadsOf([10, 30, 500]),
  );
  expect([...projected.targets].slice(2)).toEqual([0]);
  expect(projected.imbalance().maxOverMean).toBeCloseTo(1.5);
  projected.unassign(2);
  expect([...projected.targets]).toEqual([270, 270, 0]);
});

test('checks the capacity of an edge', () => {
  const projected = new ProjectedLoads(
    edges(40, 100),
    Uint16Array.of(0, 1, 1),
    loadsOf([30, 10, 11]),
  );
  expect([projected.hasRoomFor(1, 0), projected.hasRoomFor(2, 0)]).toEqual([true, false]);
});

test('sums and targets stay correct over any sequence of assignments', () => {
  const change = fc.tuple(fc.nat(5), fc.option(fc.nat(2)));
  const load = fc.integer({ min: 1, max: 100 });
  fc.assert(
    fc.property(
      fc.array(load, { minLength: 6, maxLength: 6 }),
      fc.array(change),
      (loads, changes) => {
        const projected = new ProjectedLoads(
          edges(100, 200, 0),
          Uint16Array.of(0, 1, 2, 0, 1, NO_OWNER),
          loadsOf(loads),
        );
        for (const [shard, to] of changes) {
          if (to === null) projected.unassign(shard);
          else projected.assign(shard, to);
        }
        const fresh = new ProjectedLoads(projected.edges, projected.owners, projected.loads);
        expect(projected.load).toEqual(fresh.load);
        expect(projected.connections).toEqual(fresh.connections);
        for (const [index, target] of fresh.targets.entries()) {
          expect(projected.targets[index]).toBeCloseTo(target);
        }
        expect(projected.shards.map((shards) => [...shards].sort())).toEqual(
          fresh.shards.map((shards) => [...shards].sort()),
        );
      },
    ),
  );
});
