import { expect, test } from '@jest/globals';
import type { Assignment, Content } from '../../../common/cluster/assignment.js';
import { changesBetween } from '../../../control/leadership/changes.js';
import {
  adoptMembers,
  advanceMoves,
  setIntent,
  startMoves,
} from '../../../control/planning/transitions.js';
import { contentOf, edgeName } from '../planning/plan-inputs.js';

const [A, B, C] = [edgeName(0), edgeName(1), edgeName(2)] as const;
const at = (content: Content, incarnation = 0): Assignment => ({
  ...content,
  position: { incarnation, epoch: 1 },
});
const base: Content = { ...contentOf(2, 4), owners: Uint16Array.of(0, 0, 1, 1) };
const started = startMoves(base, [{ shard: 1, from: A, to: B, kind: 'removal' }]);
const handingOver = advanceMoves(started, () => ({ type: 'hand-over' }));
const move = { shard: 1, from: A, to: B };

test('there are none between equal assignments', () => {
  expect(changesBetween(at(started), at(started))).toEqual([]);
});

test('the first assignment', () => {
  expect(changesBetween(undefined, at(base))).toEqual([
    { type: 'edge-joined', edgeId: A },
    { type: 'edge-joined', edgeId: B },
    { type: 'shards-placed', to: A, shards: 2 },
    { type: 'shards-placed', to: B, shards: 2 },
  ]);
});

test('the life of a move', () => {
  const done = advanceMoves(handingOver, () => ({ type: 'done', reason: 'released' }));
  expect(changesBetween(at(base), at(started))).toEqual([{ type: 'move-started', ...move }]);
  expect(changesBetween(at(started), at(handingOver))).toEqual([
    { type: 'move-handed-over', ...move },
  ]);
  expect(changesBetween(at(handingOver), at(done))).toEqual([{ type: 'move-completed', ...move }]);
  expect(changesBetween(at(started), at(base))).toEqual([{ type: 'move-rolled-back', ...move }]);
});

test('an edge that leaves, and where its shards went', () => {
  const left = adoptMembers(base, [base.edges[0]!]);
  const placed = { ...left, owners: Uint16Array.of(0, 0, 0, 0) };
  expect(changesBetween(at(base), at(placed))).toEqual([
    { type: 'edge-left', edgeId: B, shards: 2 },
    { type: 'shards-placed', to: A, shards: 2 },
  ]);
});

test('an edge that joins, one that restarts, an intent, and a lost history', () => {
  const [a, b] = base.edges;
  const joined = adoptMembers(base, [{ ...a!, incarnation: 'i2' }, b!, { ...b!, id: C }]);
  expect(changesBetween(at(base), at(setIntent(joined, B, 'draining'), 1))).toEqual([
    { type: 'history-abandoned', incarnation: 1 },
    { type: 'edge-restarted', edgeId: A },
    { type: 'intent-changed', edgeId: B, intent: 'draining' },
    { type: 'edge-joined', edgeId: C },
  ]);
});
