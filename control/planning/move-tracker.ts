/**
 * The move watch: what this control knows of the moves in flight besides the table: since when each
 * has been in its phase, and what the two edges have said last. A control that has just begun knows
 * nothing yet, gives every move its full time again, and hears from the edges within seconds.
 */
import {
  type Assignment,
  comparePositions,
  type Move,
  type Position,
} from '../../common/cluster/assignment.js';
import { type MoveDeadlines, type MoveReport, type MoveStep, stepMove } from './moves.js';
import { isSameMove } from './transitions.js';

interface Seen {
  readonly move: Move;
  readonly sinceMs: number;
  /** The assignment in which it was first seen like this; older reports do not count. */
  readonly since: Position;
}

export class MoveWatch {
  /** By shard: the moves of the assignment that is followed. */
  #seen = new Map<number, Seen>();
  readonly #reports = new Map<string, MoveReport>();

  constructor(readonly deadlines: MoveDeadlines) {}

  follow(nowMs: number, table: Assignment): void {
    const seen = new Map<number, Seen>();
    for (const move of table.moves) {
      const before = this.#seen.get(move.shard);
      const isOld = before !== undefined && isSameMove(before.move, move);
      seen.set(move.shard, isOld ? before : { move, sinceMs: nowMs, since: table.position });
    }
    this.#seen = seen;
    const ids = new Set(table.edges.map((edge) => edge.id));
    for (const id of this.#reports.keys()) {
      if (!ids.has(id)) this.#reports.delete(id);
    }
  }

  /** Returns false for a report that a newer one has overtaken, as when an edge changes its session. */
  hear(report: MoveReport): boolean {
    const before = this.#reports.get(report.edgeId);
    if (before !== undefined && comparePositions(report.under, before.under) < 0) return false;
    this.#reports.set(report.edgeId, report);
    return true;
  }

  /** Undefined for a move that is not in the assignment yet. */
  stepOf(nowMs: number, move: Move): MoveStep | undefined {
    const seen = this.#seen.get(move.shard);
    if (seen === undefined || !isSameMove(seen.move, move)) return undefined;
    const { sinceMs, since } = seen;
    const fromReport = this.#reports.get(move.from);
    const toReport = this.#reports.get(move.to);
    return stepMove(move, { sinceMs, since, fromReport, toReport }, nowMs, this.deadlines);
  }

  /** When time alone changes something. */
  endsAtMs(): number[] {
    const { acquireMs, handOverMs } = this.deadlines;
    return [...this.#seen.values()].map(
      ({ move, sinceMs }) => sinceMs + (move.phase === 'acquiring' ? acquireMs : handOverMs),
    );
  }
}
