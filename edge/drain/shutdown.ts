/**
 * How an edge leaves: how fast its clients are let go, whether everybody is to go, and when its
 * process may end. Pure.
 *
 * It is draining when its process was told to end or an operator wants it empty. Its shards then move
 * to others, which is control's business, and their clients follow at control's pace. What needs no
 * control is that it ends: at the deadline it closes whoever is left, and while control is away, those
 * who have somewhere else to be go at a pace of its own. Those whose shard is still here stay until
 * the last seconds: wherever they asked, they would be sent back. An edge without clients does not wait
 * for that.
 *
 * An edge that cannot hear Redis and whose shards control has given to others is no place to stay,
 * either, not even for guests. It is to be empty as if it were draining, but it does not end.
 */

/** Where the edge stands. */
export interface Standing {
  readonly connections: number;
  readonly shardsOwned: number;
  /** Moves away from here that the table still has, and those of them that are not released. */
  readonly handingOver: number;
  readonly notReleased: number;
  /** The assignment says that this edge is to lose all its shards. */
  readonly isDraining: boolean;
  /** It cannot prove that it hears Redis. */
  readonly startsUnsubscribed: boolean;
  /** Another edge is there that takes shards. */
  readonly hasRefuge: boolean;
  readonly isControlUp: boolean;
  /** What control asks for. */
  readonly goawaysPerSecond: number;
  /** Unix time in milliseconds; 0: the operator set no deadline. */
  readonly drainUntilMs: number;
  /** When a client was told to go last; -Infinity: never. */
  readonly lastGoawayAtMs: number;
}

export interface ShutdownStep {
  readonly goawaysPerSecond: number;
  /** Whether those are to go, too, whose shard this edge has not lost. */
  readonly isForAll: boolean;
  /** The deadline is near: nobody is let in, and whoever goes has longer to come back. */
  readonly isClosing: boolean;
  /** The process may end. */
  readonly isOver: boolean;
}

/** How often a step is made. */
export const GOAWAY_STEP_MS = 100;

export interface ShutdownOptions {
  /** From being told to end until the end; 0: at once. */
  readonly drainMs: number;
  /** Whether an operator's drain ends the process, too. */
  readonly exitWhenDrained: boolean;
}

/** Whoever is left is closed over this time before the deadline, not all at once. */
const CLOSING_MS = 5_000;
/** A control that is away for longer is not waited for. */
const CONTROL_AWAY_MS = 5_000;
/** A new leader is there by then, or nobody will take the shards of an edge without clients. */
const NOBODY_LEFT_MS = 15_000;
/** A browser comes back to where it was once, and has to be redirected. */
const RETURN_MS = 3_000;
/** The last goaway is aimed some steps before the deadline, not at it. */
const MARGIN_MS = 2 * GOAWAY_STEP_MS;

export class Shutdown {
  #toldAtMs: number | undefined;
  #controlHeardAtMs: number;

  constructor(
    readonly options: ShutdownOptions,
    nowMs: number,
  ) {
    this.#controlHeardAtMs = nowMs;
  }

  /** The process was told to end. */
  leave(nowMs: number): void {
    this.#toldAtMs ??= nowMs;
  }

  get isLeaving(): boolean {
    return this.#toldAtMs !== undefined;
  }

  step(nowMs: number, standing: Standing): ShutdownStep {
    const { connections, isDraining, isControlUp } = standing;
    if (isControlUp) this.#controlHeardAtMs = nowMs;
    const controlAwayMs = nowMs - this.#controlHeardAtMs;
    const isControlAway = controlAwayMs > CONTROL_AWAY_MS;
    // As when the whole cluster is taken down, control first.
    const isAlone = connections === 0 && controlAwayMs > NOBODY_LEFT_MS;
    const mustEndAtMs = (this.#toldAtMs ?? Number.POSITIVE_INFINITY) + this.options.drainMs;
    const mayEnd = this.isLeaving || (isDraining && this.options.exitWhenDrained);
    const isLeft = (mayEnd && isEmpty(standing, isControlAway)) || (this.isLeaving && isAlone);
    const isOver =
      (this.isLeaving && (!standing.hasRefuge || nowMs >= mustEndAtMs)) ||
      (isLeft && nowMs >= standing.lastGoawayAtMs + RETURN_MS);
    const isNoPlaceToStay = this.isLeaving || isDraining || standing.startsUnsubscribed;
    const isForAll = isNoPlaceToStay && standing.shardsOwned === 0;

    const isDrainTimed = isDraining && standing.drainUntilMs > 0;
    const drainUntilMs = isDrainTimed ? standing.drainUntilMs : Number.POSITIVE_INFINITY;
    const deadlineMs = nowMs < drainUntilMs ? Math.min(mustEndAtMs, drainUntilMs) : mustEndAtMs;
    const leftMs = deadlineMs - nowMs;
    if (leftMs <= CLOSING_MS) {
      const overMs = Math.max(leftMs - MARGIN_MS, GOAWAY_STEP_MS);
      // One more than there are: a goaway that is not quite whole would not be told.
      const goawaysPerSecond = ((connections + 1) * 1_000) / overMs;
      return { goawaysPerSecond, isForAll: true, isClosing: true, isOver };
    }
    let { goawaysPerSecond } = standing;
    if (!isControlUp) {
      // Empties it in half of the time that is left.
      const ownPace = (connections * 2_000) / leftMs;
      goawaysPerSecond = isControlAway && this.isLeaving ? ownPace : 0;
    }
    return { goawaysPerSecond, isForAll, isClosing: false, isOver };
  }
}

/** Without control nobody takes a released move off the table. */
function isEmpty(standing: Standing, isControlAway: boolean): boolean {
  const handingOver = isControlAway ? standing.notReleased : standing.handingOver;
  return standing.connections === 0 && standing.shardsOwned === 0 && handingOver === 0;
}
