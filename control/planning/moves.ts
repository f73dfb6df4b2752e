/**
 * Moves: the next step of one shard that moves from edge A to edge B (make before break). Pure, and
 * a function of the stored assignment and the reports of the edges. So any control that leads can
 * continue a move that another one started, and deciding twice is harmless.
 *
 *   acquiring      A owns the shard and serves it. B subscribes and proves that it receives.
 *                  Clients have not noticed anything yet.
 *   handing-over   B owns the shard: devices connect to B. A is still subscribed, sends its clients
 *                  a GOAWAY, lingers, and unsubscribes.
 *
 * Invariant: the owner of the shard is subscribed, A until B has proven itself and B afterwards. So
 * a move can be rolled back or completed by changing the assignment alone.
 */

import type { Move } from '../../common/cluster/assignment.js';
import { comparePositions, type Position } from '../../common/wire/position.js';

/** State of the moves of one edge. Repeated in every report for as long as it is true. */
export interface MoveReport {
  readonly edgeId: string;
  /** The assignment on which the report is based. A report on an older one may be obsolete. */
  readonly under: Position;
  /** Shards that the edge is acquiring and whose channel is proven to deliver. */
  readonly acquired: readonly number[];
  /** Shards that the edge was handing over: their clients have left and it has unsubscribed. */
  readonly released: readonly number[];
}

/** State of a move that is not in the assignment. */
export interface MoveStatus {
  /** When, and in which assignment, this control first saw the move in its present phase. */
  readonly sinceMs: number;
  readonly since: Position;
  readonly fromReport: MoveReport | undefined;
  readonly toReport: MoveReport | undefined;
}

export interface MoveDeadlines {
  /** Time for B to prove that it receives. */
  readonly acquireMs: number;
  /** Time for the clients of A to leave; A disconnects the rest shortly before. */
  readonly handOverMs: number;
}

export type MoveStep =
  | { readonly type: 'wait'; readonly untilMs: number }
  /** B has proven itself and becomes the owner. */
  | { readonly type: 'hand-over' }
  /** The move ends with B as the owner. */
  | { readonly type: 'done'; readonly reason: 'released' | 'deadline' | 'from-died' }
  /** The move ends with A as the owner. */
  | { readonly type: 'roll-back'; readonly reason: 'deadline' | 'to-died' | 'unwanted' };

/** Step of a move whose edges may have left the cluster; undefined: both are present. */
export function stepWithoutEdges(
  { from, to }: Move,
  isPresent: (id: string) => boolean,
): MoveStep | undefined {
  // Only B can serve the shard, ready or not. If B has left too, the shard is placed again.
  if (!isPresent(from)) return { type: 'done', reason: 'from-died' };
  return isPresent(to) ? undefined : { type: 'roll-back', reason: 'to-died' };
}

export function stepMove(
  move: Move,
  status: MoveStatus,
  nowMs: number,
  { acquireMs, handOverMs }: MoveDeadlines,
): MoveStep {
  const { sinceMs, since, fromReport, toReport } = status;
  if (move.phase === 'acquiring') {
    if (reports(toReport, 'acquired', move.shard, since)) return { type: 'hand-over' };
    const untilMs = sinceMs + acquireMs;
    return nowMs < untilMs ? { type: 'wait', untilMs } : { type: 'roll-back', reason: 'deadline' };
  }
  if (reports(fromReport, 'released', move.shard, since)) {
    return { type: 'done', reason: 'released' };
  }
  const untilMs = sinceMs + handOverMs;
  // After the deadline A has at most guests, for which it stays subscribed.
  return nowMs < untilMs ? { type: 'wait', untilMs } : { type: 'done', reason: 'deadline' };
}

function reports(
  report: MoveReport | undefined,
  list: 'acquired' | 'released',
  shard: number,
  since: Position,
): boolean {
  return (
    report !== undefined &&
    comparePositions(report.under, since) >= 0 &&
    report[list].includes(shard)
  );
}
