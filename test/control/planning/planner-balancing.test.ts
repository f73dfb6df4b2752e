/** Balancing that has started is finished by any later leader, and starts nothing else. */
import { expect, test } from '@jest/globals';
import { type Assignment, shardsOf } from '../../../common/cluster/assignment.js';
import { PlannerHarness } from './planner-harness.js';

const IDS = ['a', 'b'];

/** `a` has shards of 200 clients, `b` of 100, so `a` is at four thirds of the mean. */
function lopsided() {
  const harness = new PlannerHarness(64).start(...IDS);
  const heavy = new Set(shardsOf(harness.stored!, 'a'));
  const loadOf = (shard: number) => (heavy.has(shard) ? 200 : 100);
  /** Lets time pass until `a` is at most this far above the mean, moves in flight included. */
  const passUntil = (maxOverMean: number): Assignment => {
    for (let tries = 0; tries < 100; tries++) {
      harness.passWithReports(IDS, 2_000, loadOf);
      if (maxOverMeanOf(harness.stored!, loadOf) <= maxOverMean) return harness.stored!;
    }
    throw new Error(`max over mean stays at ${maxOverMeanOf(harness.stored!, loadOf)}`);
  };
  return { harness, loadOf, passUntil };
}

function maxOverMeanOf(assignment: Assignment, loadOf: (shard: number) => number): number {
  const loads = IDS.map((id) => {
    const leaving = assignment.moves.filter(
      ({ from, phase }) => from === id && phase === 'acquiring',
    );
    const arriving = assignment.moves.filter(({ to, phase }) => to === id && phase === 'acquiring');
    const moving = new Set(leaving.map(({ shard }) => shard));
    const shards = shardsOf(assignment, id).filter((shard) => !moving.has(shard));
    return [...shards, ...arriving.map(({ shard }) => shard)].reduce(
      (sum, s) => sum + loadOf(s),
      0,
    );
  });
  return (Math.max(...loads) * IDS.length) / loads.reduce((sum, load) => sum + load, 0);
}

/** Another control leads; the queue of the previous leader is lost. */
function takeOver(assignment: Assignment): PlannerHarness {
  const harness = new PlannerHarness(64);
  harness.stored = assignment;
  harness.handle({ type: 'read', assignment: assignment });
  harness.setMembers(...new PlannerHarness(64).start(...IDS).edges);
  return harness;
}

test('a new leader inside the band continues to the goal, because the assignment says so', () => {
  const { passUntil, loadOf } = lopsided();
  const assignment = passUntil(1.09);
  expect(maxOverMeanOf(assignment, loadOf)).toBeGreaterThan(1.05);
  expect(assignment.isBalancing).toBe(true);

  const next = takeOver(assignment);
  next.passWithReports(IDS, 120_000, loadOf);
  expect(maxOverMeanOf(next.stored!, loadOf)).toBeLessThanOrEqual(1.05);
  expect(next.stored).toMatchObject({ moves: [], isBalancing: false });

  // Without the flag it would not have started.
  const other = takeOver({ ...assignment, isBalancing: false });
  other.passWithReports(IDS, 120_000, loadOf);
  expect(maxOverMeanOf(other.stored!, loadOf)).toBeGreaterThan(1.05);
});

test('a new leader moves nothing before it knows the loads', () => {
  const { passUntil, loadOf } = lopsided();
  const next = takeOver(passUntil(1.09));
  const { shard } = next.stored!.moves[0]!;
  next.passWithReports(IDS, 28_000, loadOf);
  expect(next.stored!.moves.filter((move) => move.shard !== shard)).toEqual([]);
  // Reports of one edge are not enough to move anything, nor to finish.
  const partial = takeOver(next.stored!);
  partial.passWithReports(['a'], 90_000, loadOf);
  expect(partial.stored!.isBalancing).toBe(true);
});

test('the next leader also finishes a rebalance that an operator has requested', () => {
  const { passUntil, loadOf } = lopsided();
  const inBand = { ...passUntil(1.09), isBalancing: false };
  const requested = takeOver(inBand);
  requested.passWithReports(IDS, 60_000, loadOf);
  expect(requested.stored).toMatchObject({ moves: [], isBalancing: false });
  requested.handle({ type: 'apply', plan: requested.planner.preview(requested.nowMs)! });
  expect(requested.stored!.isBalancing).toBe(true);
});

test('finished or aborted balancing starts again only outside the band', () => {
  const { harness, passUntil, loadOf } = lopsided();
  passUntil(1.05);
  harness.passWithReports(IDS, 90_000, loadOf);
  const { position } = harness.stored!;
  expect(harness.stored!.isBalancing).toBe(false);
  const slightly = (shard: number) =>
    loadOf(shard) * (shardsOf(harness.stored!, 'a').includes(shard) ? 1.05 : 1);
  harness.passWithReports(IDS, 120_000, slightly);
  expect(harness.stored!.position).toEqual(position);

  const aborted = lopsided();
  aborted.passUntil(1.15);
  aborted.harness.handle({ type: 'abort' });
  expect(aborted.harness.stored).toMatchObject({ isBalancing: false });
});
