/**
 * Moves: what becomes next of one shard on its way from A to B (make before break). Pure, and a
 * function of what is stored and what edges have said: whichever control leads can go on with a
 * move that another has begun, and deciding twice is harmless.
 *
 *   acquiring      B subscribes and proves it. A owns the shard and serves it; nobody has noticed.
 *   handing-over   B owns the shard: devices are sent there. A, still subscribed, tells its clients
 *                  to go, lingers, and unsubscribes.
 *
 * Whatever fails, one edge that is subscribed owns the shard: until B has proven itself that is A,
 * and afterwards B. So giving up is always only a word in the table.
 */
import { comparePositions, type Move, type Position } from '../../common/cluster/assignment.js';

/** What an edge says of moves with every report, for as long as it is true. */
export interface MoveReport {
  readonly edgeId: string;
  /** The assignment under which it says so: what was true under an older one may have been undone. */
  readonly under: Position;
  /** Shards that it is acquiring, and whose channel has proven to deliver. */
  readonly acquired: readonly number[];
  /** Shards that it was handing over, whose clients are gone and whose subscription is ended. */
  readonly released: readonly number[];
}

/** What a control knows of a move besides the table. */
export interface MoveKnowledge {
  /** When, and under which assignment, this control first saw the move in its phase. */
  readonly sinceMs: number;
  readonly since: Position;
  readonly fromReport: MoveReport | undefined;
  readonly toReport: MoveReport | undefined;
}

export interface MoveDeadlines {
  /** How long B may take to prove itself. */
  readonly acquireMs: number;
  /** How long A may take to let its clients go; it closes what is left somewhat before. */
  readonly handOverMs: number;
}

export type MoveStep =
  | { readonly type: 'wait'; readonly untilMs: number }
  /** B has proven itself: the shard becomes B's. */
  | { readonly type: 'hand-over' }
  /** B has the shard, the move ends. */
  | { readonly type: 'done'; readonly why: 'released' | 'deadline' | 'from-died' }
  /** A has the shard, the move ends. */
  | { readonly type: 'roll-back'; readonly why: 'deadline' | 'to-died' | 'unwanted' };

/** What becomes of a move when edges are gone; undefined: that does not touch it. */
export function stepWithout(
  { from, to }: Move,
  isThere: (id: string) => boolean,
): MoveStep | undefined {
  // Nobody serves the shard but B, ready or not. If B is gone too, the orphan is placed anew.
  if (!isThere(from)) return { type: 'done', why: 'from-died' };
  return isThere(to) ? undefined : { type: 'roll-back', why: 'to-died' };
}

export function stepMove(
  move: Move,
  known: MoveKnowledge,
  nowMs: number,
  { acquireMs, handOverMs }: MoveDeadlines,
): MoveStep {
  if (move.phase === 'acquiring') {
    if (says(known.toReport, 'acquired', move.shard, known.since)) return { type: 'hand-over' };
    const untilMs = known.sinceMs + acquireMs;
    return nowMs < untilMs ? { type: 'wait', untilMs } : { type: 'roll-back', why: 'deadline' };
  }
  if (says(known.fromReport, 'released', move.shard, known.since)) {
    return { type: 'done', why: 'released' };
  }
  const untilMs = known.sinceMs + handOverMs;
  // Past the deadline A has guests at most, which it serves and is subscribed for.
  return nowMs < untilMs ? { type: 'wait', untilMs } : { type: 'done', why: 'deadline' };
}

function says(
  report: MoveReport | undefined,
  what: 'acquired' | 'released',
  shard: number,
  since: Position,
): boolean {
  return (
    report !== undefined &&
    comparePositions(report.under, since) >= 0 &&
    report[what].includes(shard)
  );
}
