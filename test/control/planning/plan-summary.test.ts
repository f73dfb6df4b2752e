import { expect, test } from '@jest/globals';
import type { Plan, StepKind } from '../../../control/planning/plan.js';
import { summarize } from '../../../control/planning/plan-summary.js';

const step = (shard: number, from: string, to: string, kind: StepKind, connections: number) => ({
  shard,
  from,
  to,
  kind,
  connections,
});
const plan: Plan = {
  on: { incarnation: 0, epoch: 1 },
  steps: [
    step(3, 'a', 'b', 'balancing', 100),
    step(5, 'a', 'c', 'removal', 400),
    step(7, 'a', 'b', 'addition', 500),
  ],
  maxOverMean: { before: 1.4, after: 1.02 },
  isUnfinished: true,
  irreducible: [],
  problems: [],
};

test('sums clients by edges and by reason, and estimates the duration from the budget', () => {
  const expected = { perSecond: 50, movesInFlightMax: 2, moveSecondsMin: 5 };
  expect(summarize(plan, expected)).toEqual({
    shards: 3,
    clients: 1_000,
    churn: { removal: 400, addition: 500, balancing: 100 },
    transfers: [
      { from: 'a', to: 'b', shards: [3, 7], clients: 600 },
      { from: 'a', to: 'c', shards: [5], clients: 400 },
    ],
    maxOverMean: plan.maxOverMean,
    irreducible: [],
    reconnectsPerSecond: 50,
    secondsRemaining: 20,
  });
});

test('moves with few clients still take their minimum duration', () => {
  const expected = { perSecond: 1_000, movesInFlightMax: 1, moveSecondsMin: 12 };
  expect(summarize(plan, expected)).toMatchObject({ secondsRemaining: 36 });
  expect(summarize({ ...plan, steps: [] }, expected)).toMatchObject({
    secondsRemaining: 0,
    reconnectsPerSecond: 0,
  });
});
