/**
 * Tracks the moves in flight: how long each has been in its phase, and the latest report of both
 * edges. None of this is stored. A new leader gives every move its full time again and receives
 * reports of the edges within seconds.
 */

import { type Assignment, isSameMove, type Move } from '../../common/cluster/assignment.js';
import { comparePositions, ORIGIN, type Position } from '../../common/wire/position.js';
import { type MoveDeadlines, type MoveReport, type MoveStep, stepMove } from './moves.js';

interface TrackedMove {
  readonly move: Move;
  readonly sinceMs: number;
  /**
   * The first assignment with the move in this phase; reports on older ones do not count. After an
   * assignment that was missed, the first one that was seen: the same move may have been rolled
   * back and started again meanwhile, and an edge that had acquired the shard has released it.
   */
  readonly since: Position;
}

export class MoveTracker {
  /** By shard: the moves of the assignment in force. */
  #moves = new Map<number, TrackedMove>();
  /** By id of either edge: the same moves. */
  #movesOf = new Map<string, TrackedMove[]>();
  /** False: no move has a step before the first deadline. */
  #mayHaveSteps = false;
  #firstDeadlineMs = Number.POSITIVE_INFINITY;
  #position = ORIGIN;
  /** By edge id. */
  readonly #reports = new Map<string, MoveReport>();

  constructor(readonly deadlines: MoveDeadlines) {}

  onAssignment(nowMs: number, assignment: Assignment): void {
    const moves = new Map<number, TrackedMove>();
    const { position } = assignment;
    const hasMissed = !isNext(position, this.#position);
    this.#position = position;
    for (const move of assignment.moves) {
      const before = this.#moves.get(move.shard);
      const isTracked = !hasMissed && before !== undefined && isSameMove(before.move, move);
      const tracked = isTracked ? before : { move, sinceMs: nowMs, since: position };
      moves.set(move.shard, tracked);
    }
    this.#moves = moves;
    this.#movesOf = new Map();
    for (const tracked of moves.values()) {
      for (const edgeId of [tracked.move.from, tracked.move.to]) {
        const others = this.#movesOf.get(edgeId);
        if (others === undefined) this.#movesOf.set(edgeId, [tracked]);
        else others.push(tracked);
      }
    }
    this.#mayHaveSteps = moves.size > 0;
    this.#firstDeadlineMs = this.#deadlineAfter(Number.NEGATIVE_INFINITY);
    const ids = new Set(assignment.edges.map((edge) => edge.id));
    for (const id of this.#reports.keys()) {
      if (!ids.has(id)) this.#reports.delete(id);
    }
  }

  /** Returns false for a report older than the latest, as can happen when an edge reconnects. */
  onReport(report: MoveReport): boolean {
    const before = this.#reports.get(report.edgeId);
    if (before !== undefined && comparePositions(report.under, before.under) < 0) return false;
    this.#reports.set(report.edgeId, report);
    this.#mayHaveSteps ||= this.#movesOf.has(report.edgeId);
    return true;
  }

  /** Whether a move has another step than to wait. Cheap while no edge with a move reports. */
  hasSteps(nowMs: number): boolean {
    if (!this.#mayHaveSteps && nowMs < this.#firstDeadlineMs) return false;
    this.#mayHaveSteps = false;
    for (const tracked of this.#moves.values()) {
      if (this.#step(nowMs, tracked).type === 'wait') continue;
      this.#mayHaveSteps = true;
      break;
    }
    return this.#mayHaveSteps;
  }

  /** Undefined for a move that is not in the assignment yet. */
  stepOf(nowMs: number, move: Move): MoveStep | undefined {
    const tracked = this.#moves.get(move.shard);
    if (tracked === undefined || !isSameMove(tracked.move, move)) return undefined;
    return this.#step(nowMs, tracked);
  }

  /** The first deadline of a move in flight after `nowMs`. */
  nextDeadlineMs(nowMs: number): number {
    return this.#firstDeadlineMs > nowMs ? this.#firstDeadlineMs : this.#deadlineAfter(nowMs);
  }

  #step(nowMs: number, { move, sinceMs, since }: TrackedMove): MoveStep {
    const fromReport = this.#reports.get(move.from);
    const toReport = this.#reports.get(move.to);
    return stepMove(move, { sinceMs, since, fromReport, toReport }, nowMs, this.deadlines);
  }

  #deadlineAfter(nowMs: number): number {
    const { acquireMs, handOverMs } = this.deadlines;
    let first = Number.POSITIVE_INFINITY;
    for (const { move, sinceMs } of this.#moves.values()) {
      const deadlineMs = sinceMs + (move.phase === 'acquiring' ? acquireMs : handOverMs);
      if (deadlineMs > nowMs && deadlineMs < first) first = deadlineMs;
    }
    return first;
  }
}

function isNext({ incarnation, epoch }: Position, before: Position): boolean {
  return incarnation === before.incarnation && epoch === before.epoch + 1;
}
