import { expect, test } from '@jest/globals';
import type { Assignment, Move } from '../../../common/cluster/assignment.js';
import { MoveTracker } from '../../../control/planning/move-tracker.js';

const MOVE: Move = { shard: 0, from: 'a', to: 'b', phase: 'acquiring' };

const at = (epoch: number, moves: readonly Move[] = [MOVE]): Assignment => ({
  position: { incarnation: 0, epoch },
  edges: ['a', 'b'].map((id) => {
    return { id, incarnation: 'i1', advertisedUrl: `http://${id}:7000`, intent: 'none' };
  }),
  owners: new Uint16Array(1),
  moves,
  isBalancing: false,
});

function tracking(...assignments: Assignment[]): MoveTracker {
  const tracker = new MoveTracker({ acquireMs: 10_000, handOverMs: 60_000 });
  for (const assignment of assignments) {
    tracker.onAssignment(0, assignment);
    const { epoch } = assignment.position;
    if (epoch === 5) tracker.onReport(acquired(epoch));
  }
  return tracker;
}

const acquired = (epoch: number) => {
  return { edgeId: 'b', under: { incarnation: 0, epoch }, acquired: [0], released: [] };
};

test('a report counts for the assignment with the move and for those that follow it', () => {
  const tracker = tracking(at(4), at(5), at(6));
  expect(tracker.stepOf(0, MOVE)).toEqual({ type: 'hand-over' });
});

test('a report on a move does not count for the same move when it is started again', () => {
  const again = tracking(at(5), at(6, []), at(7));
  expect(again.stepOf(0, MOVE)).toEqual({ type: 'wait', untilMs: 10_000 });
  // Another control has written 6, which this one has not seen.
  const missed = tracking(at(5), at(7));
  expect(missed.stepOf(0, MOVE)).toEqual({ type: 'wait', untilMs: 10_000 });
  missed.onReport(acquired(7));
  expect(missed.stepOf(0, MOVE)).toEqual({ type: 'hand-over' });
});
