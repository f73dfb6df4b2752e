import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ProjectedLoads } from '../../../control/placement/projected-loads.js';
import { type BalanceEdge, isOutOfBand, rebalance } from '../../../control/placement/rebalance.js';
import { edgeName, loadsOf } from '../planning/plan-inputs.js';

const edge = (index: number, more: Partial<BalanceEdge> = {}): BalanceEdge => ({
  id: edgeName(index),
  capacity: 1_000_000,
  isEligible: true,
  zone: '',
  mayGive: true,
  mayReceive: true,
  isJoining: false,
  ...more,
});
const UNLIMITED = { loadShareMax: 1, isMovable: () => true };

/** `shares[i]` lists the loads of the shards of edge i; shards are numbered in that order. */
function projectedOf(shares: readonly (readonly number[])[], more: Partial<BalanceEdge>[] = []) {
  return new ProjectedLoads(
    shares.map((_, index) => edge(index, more[index])),
    Uint16Array.from(shares.flatMap((loads, index) => loads.map(() => index))),
    loadsOf(shares.flat()),
  );
}

const many = (count: number, load: number) => new Array<number>(count).fill(load);

test('is out of band above 1.10 and below 0.90 of the target, and not between', () => {
  expect(isOutOfBand(projectedOf([many(109, 10), many(100, 10), many(91, 10)]))).toBe(false);
  expect(isOutOfBand(projectedOf([many(112, 10), many(94, 10), many(94, 10)]))).toBe(true);
  expect(isOutOfBand(projectedOf([many(106, 10), many(106, 10), many(88, 10)]))).toBe(true);
});

test('is not out of band with a handful of clients, however uneven', () => {
  expect(isOutOfBand(projectedOf([many(50, 1), many(1, 1), many(1, 1)]))).toBe(false);
});

test('moves no more than necessary to bring every edge just inside the band', () => {
  const projected = projectedOf([many(120, 10), many(80, 10)]);
  const moves = rebalance(projected, UNLIMITED);
  expect(moves).toHaveLength(15);
  expect(moves.every(({ from, to }) => from === 0 && to === 1)).toBe(true);
  expect([...projected.load]).toEqual([1_050, 950]);
});

test('prefers the shard that removes most imbalance for the fewest connections', () => {
  // Both edges are 150 outside the band; the shard of 500 would cost more than it helps.
  const projected = projectedOf([[500, 150, ...many(55, 10)], many(80, 10)]);
  expect(rebalance(projected, UNLIMITED)[0]).toEqual({ shard: 1, from: 0, to: 1 });
});

test('counts the cost in connections when load is traffic', () => {
  const load = Float64Array.of(300, 300, 300, 300, 300, 300, ...many(6, 100));
  const connections = Float64Array.of(300, 300, 5, 300, 300, 300, ...many(6, 100));
  const owners = Uint16Array.from(load, (_, shard) => (shard < 6 ? 0 : 1));
  const loads = { load, connections, isKnown: new Uint8Array(12).fill(1) };
  const projected = new ProjectedLoads([edge(0), edge(1)], owners, loads);
  expect(rebalance(projected, UNLIMITED)[0]!.shard).toBe(2);
});

test('moves shards with clients, not hundreds of shards without', () => {
  const projected = projectedOf([[...many(120, 10), ...many(500, 0.01)], many(80, 10)]);
  const moves = rebalance(projected, UNLIMITED);
  expect(moves.length).toBeLessThan(25);
  expect(projected.load[0]).toBeLessThanOrEqual(1.05 * projected.targets[0]!);
});

test('skips an edge that no move helps, and helps the next', () => {
  const giant = [2_000];
  const projected = projectedOf([giant, many(100, 10), many(60, 10), many(60, 10)]);
  const moves = rebalance(projected, UNLIMITED);
  expect(moves.length).toBeGreaterThan(0);
  expect(moves.every(({ from }) => from === 1)).toBe(true);
  expect(projected.load[1]).toBeLessThanOrEqual(1.05 * (2_200 / 3));
  expect(projected.irreducible()).toEqual([0]);
  expect(projected.imbalance().maxOverReachable).toBeLessThanOrEqual(1.05);
});

test('moves other shards away from a giant shard, and separates two giants', () => {
  const projected = projectedOf([[2_000, 2_000, ...many(20, 10)], many(40, 10), many(40, 10)]);
  rebalance(projected, UNLIMITED);
  expect(projected.owners[0]).not.toBe(projected.owners[1]);
  expect(projected.imbalance().maxOverReachable).toBeLessThanOrEqual(1.06);
});

test('fills a joining edge up to its target, others only to the band', () => {
  const joining = projectedOf([many(100, 10), many(100, 10), []], [{}, {}, { isJoining: true }]);
  rebalance(joining, UNLIMITED);
  expect(joining.load[2]).toBeGreaterThan(650);
  const other = projectedOf([many(100, 10), many(100, 10), []]);
  rebalance(other, UNLIMITED);
  expect(other.load[2]).toBeGreaterThan(630);
  expect(other.load[2]).toBeLessThan(650);
});

test('prefers a receiver in the same zone among receivers with equal ratios', () => {
  const shares = [many(120, 10), many(90, 10), many(90, 10)];
  for (const zone of ['west', 'east']) {
    const zones = [{ zone }, { zone: 'west' }, { zone: 'east' }];
    expect(rebalance(projectedOf(shares, zones), UNLIMITED)[0]!.to).toBe(zone === 'west' ? 1 : 2);
  }
  // Load comes before the zone.
  const uneven = [many(130, 10), many(95, 10), many(75, 10)];
  const zones = [{ zone: 'west' }, { zone: 'west' }, { zone: 'east' }];
  expect(rebalance(projectedOf(uneven, zones), UNLIMITED)[0]!.to).toBe(2);
});

test('does not exceed the capacity of an edge', () => {
  const shares = [many(120, 10), many(40, 10), many(40, 10)];
  const projected = projectedOf(shares, [{ capacity: 500 }, { capacity: 450 }, { capacity: 500 }]);
  rebalance(projected, UNLIMITED);
  expect(projected.connections[1]).toBeLessThanOrEqual(450);
});

test('divides load by capacity', () => {
  const projected = projectedOf(
    [many(200, 10), many(100, 10)],
    [{ capacity: 1_000 }, { capacity: 3_000 }],
  );
  rebalance(projected, UNLIMITED);
  expect(projected.load[0]! / projected.load[1]!).toBeCloseTo(1 / 3, 1);
});

test('leaves shards that are not movable, and edges that may not give, receive or take part', () => {
  const shares = [many(200, 10), many(100, 10), many(100, 10)];
  const stuck = rebalance(projectedOf(shares), { ...UNLIMITED, isMovable: (shard) => shard === 5 });
  expect(stuck.map(({ shard }) => shard)).toEqual([5]);
  expect(rebalance(projectedOf(shares, [{ mayGive: false }]), UNLIMITED)).toEqual([]);
  const cooling = rebalance(projectedOf(shares, [{}, { mayReceive: false }]), UNLIMITED);
  expect(cooling.every(({ to }) => to === 2)).toBe(true);
  expect(rebalance(projectedOf(shares, [{ isEligible: false }]), UNLIMITED)).toEqual([]);
});

test('stops when the load budget is spent', () => {
  const projected = projectedOf([many(300, 10), many(100, 10)]);
  expect(rebalance(projected, { ...UNLIMITED, loadShareMax: 0.05 })).toHaveLength(20);
});

test('never worsens the balance, moves a shard at most once, and ends', () => {
  const load = fc.oneof(fc.constant(0.01), fc.integer({ min: 1, max: 500 }), fc.constant(9_000));
  const shares = fc.array(fc.array(load, { maxLength: 30 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(shares, (cluster) => {
      const projected = projectedOf(cluster);
      const before = projected.imbalance();
      const moves = rebalance(projected, UNLIMITED);
      expect(projected.imbalance().maxOverMean).toBeLessThanOrEqual(before.maxOverMean + 1e-9);
      expect(new Set(moves.map(({ shard }) => shard)).size).toBe(moves.length);
      expect(moves.every(({ from, to }) => from !== to)).toBe(true);
    }),
  );
});
