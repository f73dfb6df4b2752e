import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { shardsOf } from '../../../common/cluster/assignment.js';
import type { PlannerEvent } from '../../../control/planning/planner-events.js';
import { edge, PlannerHarness } from './planner-harness.js';

test('writes the first assignment at once', () => {
  const harness = PlannerHarness.withEdges('a', 'b');
  expect(harness.stored!.position).toEqual({ incarnation: 0, epoch: 1 });
  expect(harness.shardCounts()).toEqual({ a: 8, b: 8 });
});

test('writes nothing before the stored assignment is read', () => {
  const harness = new PlannerHarness();
  harness.setMembers(edge('a'));
  expect(harness.stored).toBeUndefined();
  harness.handle({ type: 'read', assignment: undefined });
  expect(harness.shardCounts()).toEqual({ a: 16 });
});

test('fills a joining edge by moves, never more in flight than allowed', () => {
  const harness = PlannerHarness.withEdges('a', 'b');
  harness.setMembers(edge('a'), edge('b'), edge('c'));
  expect(harness.shardCounts()).toEqual({ a: 8, b: 8, c: 0 });
  expect(harness.stored!.moves.every((move) => move.phase === 'acquiring')).toBe(true);
  expect(harness.stored!.moves).toHaveLength(2);
  harness.passWithReports(['a', 'b', 'c'], 60_000);
  expect([5, 6]).toContain(harness.shardCounts().c);
  expect(harness.moves()).toEqual([]);
});

test('changes the owner only after the new one has proven itself, else rolls back', () => {
  const harness = PlannerHarness.withEdges('a', 'b');
  harness.setMembers(edge('a'), edge('b'), edge('c'));
  harness.passWithReports(['a', 'b'], 9_000);
  expect(harness.shardCounts().c).toBe(0);
  harness.passWithReports(['a', 'b'], 4_000);
  expect(harness.moves()).toEqual([]);
  expect(harness.shardCounts()).toEqual({ a: 8, b: 8, c: 0 });
  // The edge is not tried again at once.
  harness.passWithReports(['a', 'b', 'c'], 30_000);
  expect(harness.moves()).toEqual([]);
  harness.passWithReports(['a', 'b', 'c'], 90_000);
  expect([5, 6]).toContain(harness.shardCounts().c);
});

test('assigns the shards of a dead edge at once, and moves nothing else', () => {
  const harness = PlannerHarness.withEdges('a', 'b', 'c');
  const before = shardsOf(harness.stored!, 'a');
  harness.setMembers(edge('a'), edge('b'));
  expect(harness.moves()).toEqual([]);
  expect(Object.values(harness.shardCounts())).toEqual([8, 8]);
  expect(shardsOf(harness.stored!, 'a')).toEqual(expect.arrayContaining(before));
});

test('ends the moves of an edge that dies in either phase', () => {
  for (const dead of ['a', 'c']) {
    for (const isHandingOver of [false, true]) {
      const harness = PlannerHarness.withEdges('a', 'b');
      harness.setIntent('b', 'cordoned');
      harness.setMembers(edge('a'), edge('b'), edge('c'));
      if (isHandingOver) {
        harness.pass(1_000);
        harness.report(['c']);
        expect(harness.stored!.moves[0]!.phase).toBe('handing-over');
      }
      const shards = harness.stored!.moves.map((move) => move.shard);
      const remaining = [edge('a'), edge('b'), edge('c')].filter(({ id }) => id !== dead);
      harness.setMembers(...remaining);
      const survivor = dead === 'a' ? 'c' : 'a';
      expect(shardsOf(harness.stored!, survivor)).toEqual(expect.arrayContaining(shards));
    }
  }
});

test('continues the moves that another control has started', () => {
  const first = PlannerHarness.withEdges('a', 'b');
  first.setMembers(edge('a'), edge('b'), edge('c'));
  const second = new PlannerHarness();
  second.stored = first.stored;
  second.handle({ type: 'read', assignment: first.stored });
  second.setMembers(...first.edges);
  second.passWithReports(['a', 'b', 'c'], 90_000);
  expect([5, 6]).toContain(second.shardCounts().c);
});

test('plans again on top of an assignment that another control has written', () => {
  const harness = PlannerHarness.withEdges('a', 'b');
  harness.isHeld = true;
  harness.setMembers(edge('a'), edge('b'), edge('c'));
  const theirs = { ...harness.stored!, position: { incarnation: 0, epoch: 2 } };
  harness.stored = theirs;
  harness.isHeld = false;
  harness.completeWrite();
  expect(harness.stored!.position).toEqual({ incarnation: 0, epoch: 3 });
  expect(harness.stored!.edges.map(({ id }) => id)).toEqual(['a', 'b', 'c']);
});

test('writes nothing after a write of unknown outcome until the assignment is read', () => {
  const harness = PlannerHarness.withEdges('a', 'b');
  harness.isHeld = true;
  harness.setMembers(edge('a'), edge('b'), edge('c'));
  const { next } = harness.pending!;
  harness.pending = undefined;
  harness.isHeld = false;
  harness.handle({ type: 'write-failed' });
  harness.pass(5_000);
  expect(harness.stored!.position.epoch).toBe(1);
  // It had been stored after all.
  harness.stored = next;
  harness.handle({ type: 'read', assignment: next });
  harness.passWithReports(['a', 'b', 'c'], 90_000);
  expect([5, 6]).toContain(harness.shardCounts().c);
});

test('continues at a higher incarnation when Redis has lost writes', () => {
  const harness = PlannerHarness.withEdges('a', 'b');
  harness.stored = undefined;
  harness.handle({ type: 'read', assignment: undefined });
  expect(harness.stored!).toMatchObject({ position: { incarnation: 1, epoch: 2 } });
  harness.newestSeen = { incarnation: 7, epoch: 70 };
  harness.sendEdges();
  expect(harness.stored!).toMatchObject({ position: { incarnation: 8, epoch: 71 } });
});

test('continues at a higher incarnation over another assignment with its own position', () => {
  const cluster = new PlannerHarness();
  cluster.handle({ type: 'read', assignment: undefined });
  cluster.setMembers(edge('a'), edge('b'));
  const { position } = cluster.stored!;
  const own = cluster.stored!;
  // Redis has lost the write, and another control has written one with the same position.
  cluster.stored = { ...own, owners: own.owners.map(() => 0) };
  cluster.handle({ type: 'read', assignment: cluster.stored });
  expect(cluster.stored).toEqual({
    ...own,
    position: { incarnation: position.incarnation + 1, epoch: position.epoch + 1 },
  });
});

test('does not repeat the position of a write of unknown outcome', () => {
  const cluster = new PlannerHarness();
  cluster.handle({ type: 'read', assignment: undefined });
  cluster.setMembers(edge('a'), edge('b'));
  const { epoch } = cluster.stored!.position;
  cluster.isHeld = true;
  cluster.setMembers(edge('a'));
  expect(cluster.pending!.next.position.epoch).toBe(epoch + 1);
  cluster.pending = undefined;
  cluster.isHeld = false;
  cluster.handle({ type: 'write-failed' });
  cluster.handle({ type: 'read', assignment: cluster.stored });
  expect(cluster.stored!.position).toEqual({ incarnation: 0, epoch: epoch + 2 });
});

test('drains an edge', () => {
  const harness = PlannerHarness.withEdges('a', 'b');
  harness.setIntent('a', 'draining');
  expect(harness.stored!.edges[0]!.intent).toBe('draining');
  harness.passWithReports(['a', 'b'], 60_000);
  expect(harness.shardCounts()).toEqual({ a: 0, b: 16 });
});

test('a drain goes also to an edge that can receive only after it has begun', () => {
  const harness = new PlannerHarness(64).start('a');
  const absent = edge('c', { isAlive: false });
  harness.setMembers(edge('a'), edge('b'), absent);
  harness.setIntent('a', 'draining');
  harness.passWithReports(['a', 'b'], 10_000);
  expect(harness.shardCounts()).toMatchObject({ c: 0 });
  harness.edges = [edge('a'), edge('b'), edge('c')];
  harness.sendEdges();
  for (let passed = 0; passed < 200_000; passed += 2_000) {
    harness.passWithReports(['a', 'b', 'c'], 2_000);
    expect(harness.moves().filter((move) => move.includes('b>c'))).toEqual([]);
  }
  expect(harness.shardCounts()).toEqual({ a: 0, b: 32, c: 32 });
});

test('cancelling a drain rolls back acquiring moves and completes the others', () => {
  const harness = PlannerHarness.withEdges('a', 'b');
  harness.setIntent('a', 'draining');
  const [first, second] = harness.stored!.moves;
  const under = harness.stored!.position;
  const report = { edgeId: 'b', under, acquired: [first!.shard], released: [] };
  harness.handle({ type: 'report', moves: report, loads: undefined });
  harness.pass(1_000);
  expect(harness.stored!.moves).toEqual([{ ...first, phase: 'handing-over' }, second]);
  harness.setIntent('a', 'none');
  expect(harness.stored!.moves).toEqual([{ ...first, phase: 'handing-over' }]);
  expect(harness.shardCounts()).toEqual({ a: 7, b: 9 });
});

test('a restart ends the drain of an edge, but not its cordon', () => {
  const harness = PlannerHarness.withEdges('a', 'b', 'c');
  harness.setIntent('a', 'draining');
  harness.setIntent('b', 'cordoned');
  harness.setMembers(...['a', 'b', 'c'].map((id) => edge(id, { incarnation: 'i2' })));
  expect(harness.stored!.edges.map(({ intent }) => intent)).toEqual(['none', 'cordoned', 'none']);
});

test('rejects invalid intents', () => {
  const harness = PlannerHarness.withEdges('a', 'b');
  const { planner } = harness;
  expect(planner.rejectIntent('x', 'draining', false)?.code).toBe('NOT_FOUND');
  expect(planner.rejectIntent('a', 'none', false)?.code).toBe('INTENT_UNCHANGED');
  harness.setIntent('a', 'draining');
  expect(planner.rejectIntent('a', 'draining', false)?.code).toBe('INTENT_UNCHANGED');
  expect(planner.rejectIntent('b', 'draining', false)?.code).toBe('LAST_EDGE');
  expect(planner.rejectIntent('b', 'cordoned', false)?.code).toBe('LAST_EDGE');
  expect(planner.rejectIntent('b', 'draining', true)).toBeUndefined();
  expect(planner.rejectIntent('a', 'none', false)).toBeUndefined();
});

test('plans and starts nothing while membership is frozen, but continues moves in flight', () => {
  const harness = PlannerHarness.withEdges('a', 'b');
  harness.setIntent('a', 'draining');
  harness.isFrozen = true;
  harness.sendEdges();
  harness.passWithReports(['a', 'b'], 90_000);
  expect(harness.shardCounts()).toEqual({ a: 6, b: 10 });
  expect(harness.moves()).toEqual([]);
});

test('a pause starts nothing new, and an abort also rolls back acquiring moves', () => {
  const harness = PlannerHarness.withEdges('a', 'b');
  harness.setIntent('a', 'draining');
  expect(harness.stored!.moves).toHaveLength(2);
  harness.handle({ type: 'pause' });
  expect(harness.stored!.moves).toHaveLength(2);
  harness.handle({ type: 'abort' });
  expect(harness.stored!.moves).toEqual([]);
  expect(harness.shardCounts()).toEqual({ a: 8, b: 8 });
  harness.passWithReports(['a', 'b'], 60_000);
  expect(harness.shardCounts()).toEqual({ a: 8, b: 8 });
  harness.handle({ type: 'resume' });
  harness.passWithReports(['a', 'b'], 90_000);
  expect(harness.shardCounts()).toEqual({ a: 0, b: 16 });
});

test('applies a requested plan, unless the assignment has changed', () => {
  const harness = PlannerHarness.withEdges('a', 'b');
  const hot = (shard: number) => (shardsOf(harness.stored!, 'a').includes(shard) ? 107 : 100);
  harness.passWithReports(['a', 'b'], 34_000, hot);
  expect(harness.planner.preview(harness.nowMs)!.steps).toEqual([]);
  const lopsided = (shard: number) => (shard % 2 === 0 ? 1_000 : 1);
  harness.passWithReports(['a', 'b'], 4_000, lopsided);
  const plan = harness.planner.preview(harness.nowMs)!;
  const other = { ...plan, on: { incarnation: 0, epoch: 9 } };
  expect(harness.planner.rejectPlan(other)?.code).toBe('PLAN_OUTDATED');
  harness.handle({ type: 'apply', plan: other });
  expect(harness.moves()).toEqual([]);
  expect(harness.planner.rejectPlan(plan)).toBeUndefined();
  harness.handle({ type: 'apply', plan });
  expect(harness.stored!.moves.length).toBe(Math.min(2, plan.steps.length));
  expect(harness.planner.rejectPlan(plan)?.code).toBe('PLAN_OUTDATED');
});

test('handling the same event twice changes nothing more', () => {
  const kinds = fc.constantFrom('replan', 'pause', 'resume', 'abort', 'written', 'write-failed');
  fc.assert(
    fc.property(fc.array(kinds), (types) => {
      const harness = PlannerHarness.withEdges('a', 'b', 'c');
      for (const type of types) {
        harness.handle({ type } as PlannerEvent);
        harness.handle({ type: 'read', assignment: harness.stored });
        const { stored } = harness;
        harness.handle({ type: 'read', assignment: stored });
        harness.handle(null);
        expect(harness.stored).toBe(stored);
      }
      expect(harness.planner.problem).toBeUndefined();
    }),
  );
});
