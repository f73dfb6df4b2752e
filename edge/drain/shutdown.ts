/**
 * How an edge empties itself: how fast its clients receive goaways, whether all of them do, and
 * when the process may exit. Pure.
 *
 * An edge drains after SIGTERM, or when an operator drains it. Control then moves its shards to
 * other edges, and their clients follow at control's pace. What needs no control is the end: at the
 * deadline the edge closes the remaining clients. While control is unreachable, clients whose shard
 * has moved receive goaways at the edge's own pace. Clients whose shard is still here stay until
 * the last seconds: any other edge would send them back. An edge without clients does not wait for
 * that.
 *
 * A client that knows only this edge's address returns after its goaway. While an operator drains
 * the edge, such a client is served as a guest, and receives its next goaway at the deadline. From
 * then on, and during a shutdown, it is rejected before any work for it.
 *
 * An edge that receives nothing from Redis, and whose shards control has given to others, must not
 * keep its guests either. It empties itself as if it were draining, but it does not exit.
 */

/** State of the edge at a step. Times are milliseconds of the monotonic clock. */
export interface EdgeState {
  readonly connections: number;
  readonly shardsOwned: number;
  /** Moves away from here in the assignment, and those of them that are not released. */
  readonly handingOver: number;
  readonly notReleased: number;
  /** The assignment marks this edge as draining: it will lose all its shards. */
  readonly isDraining: boolean;
  /** The edge cannot prove that it receives messages from Redis. */
  readonly isRedisSilent: boolean;
  /** The assignment has another edge that accepts shards. */
  readonly hasOtherEdge: boolean;
  readonly isControlUp: boolean;
  /** Rate that control has requested. */
  readonly goawaysPerSecond: number;
  /** Undefined: the operator set no deadline. */
  readonly drainUntilMs: number | undefined;
  /** -Infinity: no goaway was sent. */
  readonly lastGoawayAtMs: number;
}

export interface ShutdownStep {
  readonly goawaysPerSecond: number;
  /** Whether clients whose shard this edge has not lost receive goaways as well. */
  readonly isForAll: boolean;
  /**
   * Only clients that were connected before this time receive one. A client that connects later may
   * know no other address: it would return after each further goaway. Infinity: all clients,
   * because those that return are rejected.
   */
  readonly connectedBeforeMs: number;
  /** Whether clients of other edges' shards are rejected that follow no redirect. */
  readonly rejectsGuests: boolean;
  /** The deadline is near: no client is admitted, and retry delays are longer. */
  readonly isClosing: boolean;
  /** The process may exit. */
  readonly isOver: boolean;
}

/** Interval of `step`. */
export const GOAWAY_STEP_MS = 100;

export interface ShutdownOptions {
  /** From SIGTERM to the exit; 0: at once. */
  readonly drainMs: number;
  /** Whether the process also exits when an operator's drain has emptied the edge. */
  readonly exitWhenDrained: boolean;
}

/** The remaining clients are closed over this time before the deadline, not all at once. */
const CLOSING_MS = 5_000;
/** A control that is unreachable for longer is not waited for. */
const CONTROL_AWAY_MS = 5_000;
/** By then there is a new leader, or no control will move the shards of an edge without clients. */
const CONTROL_GONE_MS = 15_000;
/** A browser reconnects once to where it was, and must be redirected. */
const RETURN_MS = 3_000;
/** The last goaway is planned this much before the deadline, not at it. */
const MARGIN_MS = 2 * GOAWAY_STEP_MS;

export class Shutdown {
  #startedAtMs: number | undefined;
  #controlSeenAtMs: number;
  /** Since when the edge is to become empty, and since when a deadline is near. */
  #emptyingSinceMs: number | undefined;
  #closingSinceMs: number | undefined;

  constructor(
    readonly options: ShutdownOptions,
    nowMs: number,
  ) {
    this.#controlSeenAtMs = nowMs;
  }

  /** The process has received SIGTERM; calls after the first do not extend the deadline. */
  start(nowMs: number): void {
    this.#startedAtMs ??= nowMs;
  }

  get isStarted(): boolean {
    return this.#startedAtMs !== undefined;
  }

  step(nowMs: number, state: EdgeState): ShutdownStep {
    if (state.isControlUp) this.#controlSeenAtMs = nowMs;
    const controlAwayMs = nowMs - this.#controlSeenAtMs;
    const exitAtMs = (this.#startedAtMs ?? Number.POSITIVE_INFINITY) + this.options.drainMs;
    const isOver = this.#isOver(nowMs, state, controlAwayMs, exitAtMs);
    const mustEmpty = this.isStarted || state.isDraining || state.isRedisSilent;
    const isForAll = mustEmpty && state.shardsOwned === 0;
    this.#emptyingSinceMs = mustEmpty ? (this.#emptyingSinceMs ?? nowMs) : undefined;
    const rejectsNow = this.isStarted || state.isRedisSilent;
    const rejectsGuests = rejectsNow || isDrainClosing(nowMs, state);

    const leftMs = deadlineMs(nowMs, state, exitAtMs) - nowMs;
    if (leftMs <= CLOSING_MS) {
      this.#closingSinceMs ??= nowMs;
      const connectedBeforeMs = rejectsNow ? Number.POSITIVE_INFINITY : this.#closingSinceMs;
      const overMs = Math.max(leftMs - MARGIN_MS, GOAWAY_STEP_MS);
      // One more than there are, because a fraction of a goaway is not sent.
      const goawaysPerSecond = ((state.connections + 1) * 1_000) / overMs;
      const closing = { isForAll: true, connectedBeforeMs, rejectsGuests, isClosing: true };
      return { ...closing, goawaysPerSecond, isOver };
    }
    this.#closingSinceMs = undefined;
    let { goawaysPerSecond } = state;
    if (!state.isControlUp) {
      // Empties the edge in half of the remaining time.
      const ownPace = (state.connections * 2_000) / leftMs;
      goawaysPerSecond = controlAwayMs > CONTROL_AWAY_MS && this.isStarted ? ownPace : 0;
    }
    const sinceMs = this.#emptyingSinceMs ?? nowMs;
    const connectedBeforeMs = rejectsNow ? Number.POSITIVE_INFINITY : sinceMs;
    const serving = { isForAll, connectedBeforeMs, rejectsGuests, isClosing: false };
    return { ...serving, goawaysPerSecond, isOver };
  }

  #isOver(nowMs: number, state: EdgeState, controlAwayMs: number, exitAtMs: number): boolean {
    const mayExit = this.isStarted || (state.isDraining && this.options.exitWhenDrained);
    // As when the whole cluster is stopped, control first.
    const isAlone = state.connections === 0 && controlAwayMs > CONTROL_GONE_MS;
    const isLeft =
      (mayExit && isEmpty(state, controlAwayMs > CONTROL_AWAY_MS)) || (this.isStarted && isAlone);
    return (
      (this.isStarted && (!state.hasOtherEdge || nowMs >= exitAtMs)) ||
      (isLeft && nowMs >= state.lastGoawayAtMs + RETURN_MS)
    );
  }
}

/** Whether the deadline of an operator's drain is near or has passed: then the edge stays empty. */
function isDrainClosing(nowMs: number, { isDraining, drainUntilMs }: EdgeState): boolean {
  return isDraining && drainUntilMs !== undefined && drainUntilMs - nowMs <= CLOSING_MS;
}

/** The earlier of the exit and a drain's deadline that has not passed yet. */
function deadlineMs(nowMs: number, state: EdgeState, exitAtMs: number): number {
  const drainUntilMs = state.isDraining ? (state.drainUntilMs ?? 0) : 0;
  return drainUntilMs > nowMs ? Math.min(exitAtMs, drainUntilMs) : exitAtMs;
}

/** Without control, released moves stay in the assignment, so they do not count. */
function isEmpty(state: EdgeState, isControlAway: boolean): boolean {
  const handingOver = isControlAway ? state.notReleased : state.handingOver;
  return state.connections === 0 && state.shardsOwned === 0 && handingOver === 0;
}
