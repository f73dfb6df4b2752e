import { expect, test } from '@jest/globals';
import { drainProgress } from '../../../control/pace/drain-progress.js';
import { advanceMoves, startMoves } from '../../../control/planning/transitions.js';
import { contentOf, edgeName } from '../planning/plan-inputs.js';

const [A, B] = [edgeName(0), edgeName(1)] as const;
const full = { ...contentOf(2, 4), owners: Uint16Array.of(0, 0, 0, 1) };
const started = startMoves(full, [
  { shard: 0, from: A, to: B, kind: 'removal' },
  { shard: 1, from: A, to: B, kind: 'removal' },
]);
const handingOver = advanceMoves(started, ({ shard }) =>
  shard === 0 ? { type: 'hand-over' } : undefined,
);
const empty = { ...full, owners: Uint16Array.of(1, 1, 1, 1) };

test('counts pending and moving shards, and estimates the remaining time', () => {
  expect(drainProgress(handingOver, A, 600, 50)).toEqual({
    edgeId: A,
    shardsPending: 1,
    shardsMoving: 2,
    clientsRemaining: 600,
    secondsRemaining: 12,
    isFinished: false,
  });
});

test('has no estimate while the rate is 0 or the edge does not report', () => {
  expect(drainProgress(started, A, 600, 0).secondsRemaining).toBeUndefined();
  expect(drainProgress(started, A, undefined, 50).secondsRemaining).toBeUndefined();
});

test('is finished when the edge owns nothing, hands over nothing and has no clients', () => {
  expect(drainProgress(empty, A, 0, 0)).toMatchObject({ isFinished: true, secondsRemaining: 0 });
  expect(drainProgress(empty, A, 1, 0).isFinished).toBe(false);
  expect(drainProgress(empty, A, undefined, 0).isFinished).toBe(false);
  expect(drainProgress(handingOver, A, 0, 0).isFinished).toBe(false);
  // Without clients, the rest of the moves takes a time that is not known.
  expect(drainProgress(handingOver, A, 0, 0).secondsRemaining).toBeUndefined();
  expect(drainProgress(full, A, 0, 0).isFinished).toBe(false);
});
