import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { shardsOf } from '../../../common/cluster/assignment.js';
import type { PlannerEvent } from '../../../control/planning/planner.js';
import { edge, Story } from './planner-harness.js';

test('writes the first table at once, on top of nothing', () => {
  const story = Story.withEdges('a', 'b');
  expect(story.stored!.position).toEqual({ incarnation: 0, epoch: 1 });
  expect(story.shares()).toEqual({ a: 8, b: 8 });
});

test('writes nothing before it has read', () => {
  const story = new Story();
  story.members(edge('a'));
  expect(story.stored).toBeUndefined();
  story.tell({ type: 'read', assignment: undefined });
  expect(story.shares()).toEqual({ a: 16 });
});

test('fills a joiner move by move, never more in flight than allowed', () => {
  const story = Story.withEdges('a', 'b');
  story.members(edge('a'), edge('b'), edge('c'));
  expect(story.shares()).toEqual({ a: 8, b: 8, c: 0 });
  expect(story.stored!.moves.every((move) => move.phase === 'acquiring')).toBe(true);
  expect(story.stored!.moves).toHaveLength(2);
  story.passWithReports(['a', 'b', 'c'], 60_000);
  expect([5, 6]).toContain(story.shares().c);
  expect(story.moves()).toEqual([]);
});

test('gives a shard to its new owner only when that has proven it, and back if it does not', () => {
  const story = Story.withEdges('a', 'b');
  story.members(edge('a'), edge('b'), edge('c'));
  story.passWithReports(['a', 'b'], 9_000);
  expect(story.shares().c).toBe(0);
  story.passWithReports(['a', 'b'], 4_000);
  expect(story.moves()).toEqual([]);
  expect(story.shares()).toEqual({ a: 8, b: 8, c: 0 });
  // It is not asked again at once.
  story.passWithReports(['a', 'b', 'c'], 30_000);
  expect(story.moves()).toEqual([]);
  story.passWithReports(['a', 'b', 'c'], 90_000);
  expect([5, 6]).toContain(story.shares().c);
});

test('places the shards of a dead edge at once, and moves nothing else', () => {
  const story = Story.withEdges('a', 'b', 'c');
  const before = shardsOf(story.stored!, 'a');
  story.members(edge('a'), edge('b'));
  expect(story.moves()).toEqual([]);
  expect(Object.values(story.shares())).toEqual([8, 8]);
  expect(shardsOf(story.stored!, 'a')).toEqual(expect.arrayContaining(before));
});

test('resolves the moves of an edge that dies in either phase', () => {
  for (const dead of ['a', 'c']) {
    for (const isHandingOver of [false, true]) {
      const story = Story.withEdges('a', 'b');
      story.intent('b', 'cordoned');
      story.members(edge('a'), edge('b'), edge('c'));
      if (isHandingOver) {
        story.pass(1_000);
        story.report(['c']);
        expect(story.stored!.moves[0]!.phase).toBe('handing-over');
      }
      const shards = story.stored!.moves.map((move) => move.shard);
      const left = [edge('a'), edge('b'), edge('c')].filter(({ id }) => id !== dead);
      story.members(...left);
      const survivor = dead === 'a' ? 'c' : 'a';
      expect(shardsOf(story.stored!, survivor)).toEqual(expect.arrayContaining(shards));
    }
  }
});

test('goes on with the moves that another control has begun', () => {
  const first = Story.withEdges('a', 'b');
  first.members(edge('a'), edge('b'), edge('c'));
  const second = new Story();
  second.stored = first.stored;
  second.tell({ type: 'read', assignment: first.stored });
  second.members(...first.edges);
  second.passWithReports(['a', 'b', 'c'], 90_000);
  expect([5, 6]).toContain(second.shares().c);
});

test('plans again on top of what another control has written', () => {
  const story = Story.withEdges('a', 'b');
  story.isHeld = true;
  story.members(edge('a'), edge('b'), edge('c'));
  const theirs = { ...story.stored!, position: { incarnation: 0, epoch: 2 } };
  story.stored = theirs;
  story.isHeld = false;
  story.answer();
  expect(story.stored!.position).toEqual({ incarnation: 0, epoch: 3 });
  expect(story.stored!.edges.map(({ id }) => id)).toEqual(['a', 'b', 'c']);
});

test('writes nothing after a write of unknown outcome until it has read', () => {
  const story = Story.withEdges('a', 'b');
  story.isHeld = true;
  story.members(edge('a'), edge('b'), edge('c'));
  const { next } = story.pending!;
  story.pending = undefined;
  story.isHeld = false;
  story.tell({ type: 'write-failed' });
  story.pass(5_000);
  expect(story.stored!.position.epoch).toBe(1);
  // It had been stored after all.
  story.stored = next;
  story.tell({ type: 'read', assignment: next });
  story.passWithReports(['a', 'b', 'c'], 90_000);
  expect([5, 6]).toContain(story.shares().c);
});

test('goes on at a higher incarnation when Redis has lost writes', () => {
  const story = Story.withEdges('a', 'b');
  story.stored = undefined;
  story.tell({ type: 'read', assignment: undefined });
  expect(story.stored!).toMatchObject({ position: { incarnation: 1, epoch: 2 } });
  story.newestSeen = { incarnation: 7, epoch: 70 };
  story.tellEdges();
  expect(story.stored!).toMatchObject({ position: { incarnation: 8, epoch: 71 } });
});

test('drains an edge', () => {
  const story = Story.withEdges('a', 'b');
  story.intent('a', 'draining');
  expect(story.stored!.edges[0]!.intent).toBe('draining');
  story.passWithReports(['a', 'b'], 60_000);
  expect(story.shares()).toEqual({ a: 0, b: 16 });
});

test('takes a drain back: what nobody has noticed stays, what has been handed over goes on', () => {
  const story = Story.withEdges('a', 'b');
  story.intent('a', 'draining');
  const [first, second] = story.stored!.moves;
  const under = story.stored!.position;
  const said = { edgeId: 'b', under, acquired: [first!.shard], released: [] };
  story.tell({ type: 'report', moves: said, loads: undefined });
  story.pass(1_000);
  expect(story.stored!.moves).toEqual([{ ...first, phase: 'handing-over' }, second]);
  story.intent('a', 'none');
  expect(story.stored!.moves).toEqual([{ ...first, phase: 'handing-over' }]);
  expect(story.shares()).toEqual({ a: 7, b: 9 });
});

test('a new process of a draining edge is not draining, that of a cordoned one is cordoned', () => {
  const story = Story.withEdges('a', 'b', 'c');
  story.intent('a', 'draining');
  story.intent('b', 'cordoned');
  story.members(...['a', 'b', 'c'].map((id) => edge(id, { incarnation: 'i2' })));
  expect(story.stored!.edges.map(({ intent }) => intent)).toEqual(['none', 'cordoned', 'none']);
});

test('rejects intents that make no sense', () => {
  const story = Story.withEdges('a', 'b');
  const { planner } = story;
  expect(planner.rejectIntent('x', 'draining', false)?.code).toBe('NOT_FOUND');
  expect(planner.rejectIntent('a', 'none', false)?.code).toBe('INTENT_UNCHANGED');
  story.intent('a', 'draining');
  expect(planner.rejectIntent('a', 'draining', false)?.code).toBe('INTENT_UNCHANGED');
  expect(planner.rejectIntent('b', 'draining', false)?.code).toBe('LAST_EDGE');
  expect(planner.rejectIntent('b', 'cordoned', false)?.code).toBe('LAST_EDGE');
  expect(planner.rejectIntent('b', 'draining', true)).toBeUndefined();
  expect(planner.rejectIntent('a', 'none', false)).toBeUndefined();
});

test('begins and plans nothing while membership is frozen, but goes on with what is begun', () => {
  const story = Story.withEdges('a', 'b');
  story.intent('a', 'draining');
  story.isFrozen = true;
  story.tellEdges();
  story.passWithReports(['a', 'b'], 90_000);
  expect(story.shares()).toEqual({ a: 6, b: 10 });
  expect(story.moves()).toEqual([]);
});

test('a pause begins nothing new, an abort also takes back what nobody has noticed', () => {
  const story = Story.withEdges('a', 'b');
  story.intent('a', 'draining');
  expect(story.stored!.moves).toHaveLength(2);
  story.tell({ type: 'pause' });
  expect(story.stored!.moves).toHaveLength(2);
  story.tell({ type: 'abort' });
  expect(story.stored!.moves).toEqual([]);
  expect(story.shares()).toEqual({ a: 8, b: 8 });
  story.passWithReports(['a', 'b'], 60_000);
  expect(story.shares()).toEqual({ a: 8, b: 8 });
  story.tell({ type: 'resume' });
  story.passWithReports(['a', 'b'], 90_000);
  expect(story.shares()).toEqual({ a: 0, b: 16 });
});

test('applies a plan that was asked for, unless the world has changed', () => {
  const story = Story.withEdges('a', 'b');
  const hot = (shard: number) => (shardsOf(story.stored!, 'a').includes(shard) ? 107 : 100);
  story.passWithReports(['a', 'b'], 34_000, hot);
  expect(story.planner.preview(story.nowMs)!.steps).toEqual([]);
  const lopsided = (shard: number) => (shard % 2 === 0 ? 1_000 : 1);
  story.passWithReports(['a', 'b'], 4_000, lopsided);
  const plan = story.planner.preview(story.nowMs)!;
  const other = { ...plan, on: { incarnation: 0, epoch: 9 } };
  expect(story.planner.rejectPlan(other)?.code).toBe('PLAN_OUTDATED');
  story.tell({ type: 'apply', plan: other });
  expect(story.moves()).toEqual([]);
  expect(story.planner.rejectPlan(plan)).toBeUndefined();
  story.tell({ type: 'apply', plan });
  expect(story.stored!.moves.length).toBe(Math.min(2, plan.steps.length));
  expect(story.planner.rejectPlan(plan)?.code).toBe('PLAN_OUTDATED');
});

test('says the same when told twice', () => {
  const kinds = fc.constantFrom('replan', 'pause', 'resume', 'abort', 'written', 'write-failed');
  fc.assert(
    fc.property(fc.array(kinds), (types) => {
      const story = Story.withEdges('a', 'b', 'c');
      for (const type of types) {
        story.tell({ type } as PlannerEvent);
        story.tell({ type: 'read', assignment: story.stored });
        const { stored } = story;
        story.tell({ type: 'read', assignment: stored });
        story.tell(null);
        expect(story.stored).toBe(stored);
      }
      expect(story.planner.problem).toBeUndefined();
    }),
  );
});
