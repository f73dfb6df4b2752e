import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Move } from '../../../common/cluster/assignment.js';
import type { Position } from '../../../common/wire/position.js';
import {
  type MoveReport,
  type MoveStatus,
  stepMove,
  stepWithoutEdges,
} from '../../../control/planning/moves.js';

const DEADLINES = { acquireMs: 10_000, handOverMs: 60_000 };
const at = (epoch: number): Position => ({ incarnation: 1, epoch });
const acquiring: Move = { shard: 7, from: 'a', to: 'b', phase: 'acquiring' };
const handingOver: Move = { ...acquiring, phase: 'handing-over' };
const status: MoveStatus = {
  sinceMs: 0,
  since: at(5),
  fromReport: undefined,
  toReport: undefined,
};
const report = (epoch: number, more: Partial<MoveReport>): MoveReport => ({
  edgeId: 'x',
  under: at(epoch),
  acquired: [],
  released: [],
  ...more,
});
const step = (move: Move, more: Partial<MoveStatus>, nowMs = 1) =>
  stepMove(move, { ...status, ...more }, nowMs, DEADLINES);

test('hands over when the new owner has proven that it receives', () => {
  expect(step(acquiring, {})).toEqual({ type: 'wait', untilMs: 10_000 });
  const toReport = report(5, { acquired: [3, 7] });
  expect(step(acquiring, { toReport })).toEqual({ type: 'hand-over' });
});

test('ignores the proof of an earlier attempt', () => {
  expect(step(acquiring, { toReport: report(4, { acquired: [7] }) }).type).toBe('wait');
});

test('ignores the proof of another shard, and a release instead of a proof', () => {
  const toReport = report(9, { acquired: [8], released: [7] });
  expect(step(acquiring, { toReport }).type).toBe('wait');
  expect(step(acquiring, { fromReport: report(9, { released: [7] }) }).type).toBe('wait');
});

test('rolls back when the proof does not arrive in time', () => {
  expect(step(acquiring, {}, 9_999).type).toBe('wait');
  expect(step(acquiring, {}, 10_000)).toEqual({ type: 'roll-back', reason: 'deadline' });
});

test('accepts a proof that arrives together with the deadline', () => {
  const toReport = report(5, { acquired: [7] });
  expect(step(acquiring, { toReport }, 10_000)).toEqual({ type: 'hand-over' });
});

test('is done when the old owner has released the shard, or after the deadline', () => {
  expect(step(handingOver, {})).toEqual({ type: 'wait', untilMs: 60_000 });
  const fromReport = report(6, { released: [7] });
  expect(step(handingOver, { fromReport })).toEqual({ type: 'done', reason: 'released' });
  expect(step(handingOver, { fromReport: report(4, { released: [7] }) }).type).toBe('wait');
  expect(step(handingOver, {}, 60_000)).toEqual({ type: 'done', reason: 'deadline' });
});

test('gives the shard to the edge of the move that is still present', () => {
  for (const move of [acquiring, handingOver]) {
    const without = (...dead: string[]) => stepWithoutEdges(move, (id) => !dead.includes(id));
    expect(without('a')).toEqual({ type: 'done', reason: 'from-died' });
    expect(without('b')).toEqual({ type: 'roll-back', reason: 'to-died' });
    expect(without('a', 'b')).toEqual({ type: 'done', reason: 'from-died' });
    expect(without('c')).toBeUndefined();
  }
});

test('ends for any reports, and waits only for a future moment', () => {
  const position = fc.integer({ min: 0, max: 9 }).map(at);
  const reports = fc.option(
    fc.record({
      edgeId: fc.constant('x'),
      under: position,
      acquired: fc.array(fc.nat(9)),
      released: fc.array(fc.nat(9)),
    }),
    { nil: undefined },
  );
  const statuses = fc.record({
    sinceMs: fc.nat(100_000),
    since: position,
    fromReport: reports,
    toReport: reports,
  });
  fc.assert(
    fc.property(fc.boolean(), statuses, fc.nat(300_000), (isFirst, more, nowMs) => {
      const move = isFirst ? acquiring : handingOver;
      const next = stepMove(move, more, nowMs, DEADLINES);
      if (next.type === 'wait') {
        expect(next.untilMs).toBeGreaterThan(nowMs);
        expect(stepMove(move, more, next.untilMs, DEADLINES).type).not.toBe('wait');
      }
      if (next.type === 'hand-over') expect(move.phase).toBe('acquiring');
    }),
  );
});
