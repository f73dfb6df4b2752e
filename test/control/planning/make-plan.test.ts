import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Content, findProblem, NO_OWNER } from '../../../common/cluster/assignment.js';
import { assignUnowned } from '../../../control/planning/assign-unowned.js';
import { makePlan } from '../../../control/planning/make-plan.js';
import type { Plan, PlanInputs } from '../../../control/planning/plan.js';
import { startMoves } from '../../../control/planning/transitions.js';
import { contentOf, edgeName, inputsOf, loadsOf, planEdge, withIntent } from './plan-inputs.js';

const SHARDS = 256;
const ON = { incarnation: 1, epoch: 3 };
const even = loadsOf(new Array(SHARDS).fill(10));

/** A cluster with its first assignment. */
function cluster(edgeCount: number, loads = even): { content: Content; inputs: PlanInputs } {
  const content = contentOf(edgeCount, SHARDS);
  const inputs = inputsOf(
    content.edges.map((_, index) => planEdge(index)),
    loads,
  );
  return {
    content: { ...content, owners: assignUnowned(content, content.owners, inputs) },
    inputs,
  };
}

const countsOf = (owners: Uint16Array, edgeCount: number) =>
  Array.from({ length: edgeCount }, (_, i) => owners.filter((owner) => owner === i).length);
const kinds = (plan: Plan) => [...new Set(plan.steps.map((step) => step.kind))];

test('makes an even first assignment', () => {
  const { content } = cluster(5);
  expect(countsOf(content.owners, 5).sort()).toEqual([51, 51, 51, 51, 52]);
});

test('gives the shards of a dead edge to the others by load, and moves nothing else', () => {
  const loads = loadsOf(Array.from({ length: SHARDS }, (_, shard) => 10 + (shard % 7)));
  const { content, inputs } = cluster(4, loads);
  const unowned = content.owners.map((owner) => (owner === 3 ? NO_OWNER : owner));
  const three = { ...contentOf(3, SHARDS), owners: unowned };
  const placed = assignUnowned(three, unowned, { ...inputs, edges: inputs.edges.slice(0, 3) });
  for (let shard = 0; shard < SHARDS; shard++) {
    if (content.owners[shard] !== 3) expect(placed[shard]).toBe(content.owners[shard]);
  }
  const sums = [0, 1, 2].map((edge) =>
    loads.load.reduce((sum, load, shard) => sum + (placed[shard] === edge ? load : 0), 0),
  );
  expect(Math.max(...sums) / Math.min(...sums)).toBeLessThan(1.05);
});

test('prefers an edge that should get no shards to leaving shards unowned', () => {
  const content = withIntent(contentOf(2, SHARDS), 0, 'draining');
  const away = [planEdge(0), planEdge(1, { isAlive: false })];
  expect(countsOf(assignUnowned(content, content.owners, { edges: away, loads: even }), 2)).toEqual(
    [SHARDS, 0],
  );
  const none = away.map((edge) => ({ ...edge, isAlive: false }));
  expect(assignUnowned(content, content.owners, { edges: none, loads: even })).not.toContain(
    NO_OWNER,
  );
});

test('makes no moves in an even cluster', () => {
  const { content, inputs } = cluster(4);
  expect(makePlan(content, ON, inputs, false).steps).toEqual([]);
});

test('empties a draining edge, and gives a cordoned edge nothing', () => {
  const { content, inputs } = cluster(4);
  const leaving = withIntent(withIntent(content, 0, 'draining'), 1, 'cordoned');
  const plan = makePlan(leaving, ON, inputs, false);
  expect(plan.steps).toHaveLength(64);
  expect(kinds(plan)).toEqual(['removal']);
  const to = new Set(plan.steps.map((step) => step.to));
  expect([...to].sort()).toEqual([edgeName(2), edgeName(3)]);
  expect(plan.steps.every((step) => step.from === edgeName(0) && step.connections === 10)).toBe(
    true,
  );
});

test('leaves a draining edge its shards when no other edge can get them', () => {
  const { content, inputs } = cluster(2);
  const last = withIntent(withIntent(content, 0, 'draining'), 1, 'cordoned');
  expect(makePlan(last, ON, inputs, false).steps).toEqual([]);
});

test('fills a joining edge with its share and no more', () => {
  const { content, inputs } = cluster(4);
  const five = { ...contentOf(5, SHARDS), owners: content.owners };
  const plan = makePlan(five, ON, { ...inputs, edges: [...inputs.edges, planEdge(4)] }, false);
  expect(kinds(plan)).toEqual(['addition']);
  expect(plan.steps.length).toBeGreaterThanOrEqual(51);
  expect(plan.steps.length).toBeLessThanOrEqual(52);
  expect(plan.maxOverMean.after).toBeLessThan(1.05);
});

test('fills a joining edge by count while there are no clients', () => {
  const { content, inputs } = cluster(4, loadsOf(new Array(SHARDS).fill(0.01)));
  const five = { ...contentOf(5, SHARDS), owners: content.owners };
  const plan = makePlan(five, ON, { ...inputs, edges: [...inputs.edges, planEdge(4)] }, false);
  expect(plan.steps.length).toBeGreaterThanOrEqual(51);
});

test('does not plan moves of shards that are moving', () => {
  const { content, inputs } = cluster(4);
  const leaving = withIntent(content, 0, 'draining');
  const { steps } = makePlan(leaving, ON, inputs, false);
  const started = startMoves(leaving, steps.slice(0, 10));
  expect(findProblem(started)).toBeUndefined();
  const rest = makePlan(started, ON, inputs, false).steps;
  const both = [...steps.slice(0, 10), ...rest].map((step) => step.shard);
  expect(new Set(both).size).toBe(64);
  expect(both).toHaveLength(64);
});

test('balances only by loads that are known', () => {
  const { content, inputs } = cluster(4);
  const load = even.load.map((one, shard) => (content.owners[shard] === 0 ? 4 * one : one));
  const hot = { ...inputs, loads: loadsOf(load) };
  expect(kinds(makePlan(content, ON, hot, false))).toEqual(['balancing']);
  const unknown = { ...hot.loads, isKnown: new Uint8Array(SHARDS) };
  expect(makePlan(content, ON, { ...hot, loads: unknown }, false).steps).toEqual([]);
  const edges = hot.edges.map((edge, index) => ({ ...edge, isKnown: index !== 0 }));
  expect(makePlan(content, ON, { ...hot, edges }, false).steps).toEqual([]);
});

test('band, budget and cooldowns do not limit a plan that an operator requests', () => {
  const { content, inputs } = cluster(4);
  const load = even.load.map((one, shard) => (content.owners[shard] === 0 ? 1.12 * one : one));
  const warm: PlanInputs = { ...inputs, loads: loadsOf(load), isCoolingDown: () => true };
  expect(makePlan(content, ON, warm, false).steps).toEqual([]);
  expect(makePlan(content, ON, warm, true).steps.length).toBeGreaterThan(0);
});

test('lists shards that no move can balance', () => {
  const { content, inputs } = cluster(4);
  const load = even.load.map((one, shard) => (shard === 9 ? 5_000 : one));
  const plan = makePlan(content, ON, { ...inputs, loads: loadsOf(load) }, true);
  expect(plan.irreducible).toEqual([9]);
  expect(plan.steps.some((step) => step.shard === 9)).toBe(false);
});

test('all moves of a plan can start at once', () => {
  const load = fc.oneof(fc.constant(0.01), fc.integer({ min: 1, max: 500 }), fc.constant(9_000));
  const loads = fc.array(load, { minLength: 64, maxLength: 64 });
  const intents = fc.array(fc.constantFrom('none', 'none', 'cordoned', 'draining'), {
    minLength: 1,
    maxLength: 8,
  });
  fc.assert(
    fc.property(intents, loads, fc.nat(7), fc.boolean(), (wanted, weights, owner, isRequested) => {
      const empty = contentOf(wanted.length, 64);
      const edges = wanted.map((intent, index) => ({ ...empty.edges[index]!, intent }) as const);
      const owners = empty.owners.map((_, shard) => (shard * (owner + 1)) % wanted.length);
      const content = { ...empty, edges, owners };
      const inputs = inputsOf(
        edges.map((_, index) => planEdge(index)),
        loadsOf(weights),
      );
      const plan = makePlan(content, ON, inputs, isRequested);
      expect(plan.problems).toEqual([]);
      const started = startMoves(content, plan.steps);
      expect(findProblem(started)).toBeUndefined();
      for (const step of plan.steps) {
        expect(edges.find((edge) => edge.id === step.to)!.intent).toBe('none');
      }
    }),
  );
});
