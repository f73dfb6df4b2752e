import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Content, findProblem, NO_OWNER } from '../../../common/cluster/assignment.js';
import type { MoveStep } from '../../../control/planning/moves.js';
import type { StepKind } from '../../../control/planning/plan.js';
import {
  adoptMembers,
  advanceMoves,
  isSameContent,
  setIntent,
  startMoves,
} from '../../../control/planning/transitions.js';
import { contentOf, edgeName } from './plan-inputs.js';

const [A, B, C] = [edgeName(0), edgeName(1), edgeName(2)] as const;

/** Four shards: A, A, B, C. */
const before: Content = { ...contentOf(3, 4), owners: Uint16Array.of(0, 0, 1, 2) };
const moving = startMoves(before, [
  { shard: 2, from: B, to: C, kind: 'removal' },
  { shard: 0, from: A, to: B, kind: 'removal' },
]);

const stepping = (step: MoveStep) =>
  advanceMoves(moving, ({ shard }) => (shard === 0 ? step : undefined));

test('starts moves in the order of their shards, without changing owners', () => {
  expect(moving.moves.map(({ shard, phase }) => [shard, phase])).toEqual([
    [0, 'acquiring'],
    [2, 'acquiring'],
  ]);
  expect(moving.owners).toEqual(before.owners);
});

test.each(['addition', 'balancing'] as const)('a move for %s sets isBalancing', (kind) => {
  const started = startMoves(before, [{ shard: 0, from: A, to: B, kind }]);
  expect([before.isBalancing, started.isBalancing]).toEqual([false, true]);
  expect(isSameContent(started, { ...started, isBalancing: false })).toBe(false);
  // Other changes keep it set.
  expect(adoptMembers(setIntent(started, A, 'draining'), started.edges).isBalancing).toBe(true);
});

test('a move for removal does not set isBalancing', () => {
  expect(moving.isBalancing).toBe(false);
});

test('a hand-over gives the shard to the new owner, and the move continues', () => {
  const { owners, moves } = stepping({ type: 'hand-over' });
  expect(owners[0]).toBe(1);
  expect(moves[0]).toEqual({ shard: 0, from: A, to: B, phase: 'handing-over' });
});

test('the end of a move leaves the shard with the right owner', () => {
  expect(stepping({ type: 'done', reason: 'released' })).toMatchObject({
    owners: Uint16Array.of(1, 0, 1, 2),
    moves: [moving.moves[1]],
  });
  expect(stepping({ type: 'roll-back', reason: 'deadline' })).toMatchObject({
    owners: before.owners,
    moves: [moving.moves[1]],
  });
  expect(isSameContent(stepping({ type: 'wait', untilMs: 1 }), moving)).toBe(true);
});

test('adopting other members keeps the shards of the remaining edges under their new indexes', () => {
  const joiner = { ...before.edges[0]!, id: 'edge-0000a' };
  const next = adoptMembers(before, [before.edges[2]!, joiner, before.edges[0]!]);
  expect(next.edges.map(({ id }) => id)).toEqual([A, 'edge-0000a', C]);
  expect([...next.owners]).toEqual([0, 0, NO_OWNER, 2]);
});

test('cancelling an intent rolls back the moves that clients have not noticed', () => {
  const draining = setIntent(moving, A, 'draining');
  expect(draining.moves).toEqual(moving.moves);
  expect(setIntent(draining, A, 'none').moves).toEqual([moving.moves[1]]);
  expect(setIntent(moving, B, 'cordoned').moves).toEqual([moving.moves[1]]);
  const handingOver = stepping({ type: 'hand-over' });
  expect(setIntent(handingOver, B, 'draining').moves).toEqual(handingOver.moves);
});

test('any change of valid content is valid', () => {
  const shard = fc.nat(3);
  const step = fc.constantFrom<MoveStep>(
    { type: 'wait', untilMs: 1 },
    { type: 'hand-over' },
    { type: 'done', reason: 'released' },
    { type: 'roll-back', reason: 'deadline' },
  );
  const id = fc.constantFrom(A, B, C);
  const kindOf = fc.constantFrom<StepKind>('removal', 'addition', 'balancing');
  const change = fc.oneof(
    fc.tuple(shard, id, kindOf).map(([one, to, kind]) => (content: Content) => {
      const from = content.edges[content.owners[one]!]?.id;
      const isFree = !content.moves.some((move) => move.shard === one);
      const isPresent = content.edges.some((edge) => edge.id === to);
      if (from === undefined || from === to || !isFree || !isPresent) return content;
      return startMoves(content, [{ shard: one, from, to, kind }]);
    }),
    fc.tuple(shard, step).map(
      ([one, next]) =>
        (content: Content) =>
          advanceMoves(content, (move) => (move.shard === one ? next : undefined)),
    ),
    fc.tuple(id, fc.constantFrom('none', 'cordoned', 'draining')).map(
      ([edgeId, intent]) =>
        (content: Content) =>
          setIntent(content, edgeId, intent),
    ),
    fc
      .subarray([...before.edges], { minLength: 1 })
      .map((members) => (content: Content) => adoptMembers(content, members)),
  );
  fc.assert(
    fc.property(fc.array(change), (changes) => {
      let content = before;
      for (const next of changes) {
        content = next(content);
        expect(findProblem(content)).toBeUndefined();
      }
    }),
  );
});
