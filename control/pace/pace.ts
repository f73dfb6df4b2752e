/**
 * Pace: how many clients a second are told to move, cluster-wide. A closed loop: the edges that
 * receive say how they feel, and the rate follows. It goes up by a little while all are idle and down by half as
 * soon as one is under pressure (as TCP does it: many small steps up, one large step down, settles near what the receivers can take
 * without anybody knowing what that is).
 *
 * Knowing nothing is not being idle: without fresh reports the rate stays where it is. When a
 * receiver dies in the middle of a move, its clients are a storm of their own: nobody else is told
 * to go until that is over.
 */

export interface ReceiverReport {
  readonly edgeId: string;
  readonly isAlive: boolean;
  /** When it said so. */
  readonly atMs: number;
  /** Connections accepted that are not served yet. */
  readonly handshakesPending: number;
  readonly eventLoopLagP99Ms: number;
  /** Share of its memory that is free, 0 to 1. */
  readonly memoryHeadroom: number;
}

export interface Donor {
  readonly edgeId: string;
  /** Clients of shards that it is handing over. */
  readonly clientsRemaining: number;
}

export interface PaceOptions {
  /** Reconnects that the cluster is to bear at most. */
  readonly perSecondMax: number;
}

export interface Pace {
  readonly perSecond: number;
  /** Goaways a second of each donor; sums to `perSecond`. */
  readonly byEdge: ReadonlyMap<string, number>;
  /** How long that takes for all; Infinity while stopped, 0 when nothing is left. */
  readonly secondsRemaining: number;
  /** `held`: something is not known. */
  readonly reason: 'idle' | 'pressure' | 'held' | 'stopped' | 'nothing-to-do';
}

const STEP_MS = 2_000;
const FRESH_MS = 6_000;
/** What it begins with and goes up by, of the budget. */
const STEP_SHARE = 0.02;
/**
 * Once nobody was told to go for so long, the rate that was right then says nothing any more, and it
 * begins as carefully as at first (RFC 5681, section 4.1, has the same for TCP).
 */
const FORGOTTEN_MS = 10_000;
/** Under lasting pressure a move still ends some day. */
const PER_SECOND_MIN = 1;
/** After the death of a receiver. */
const STOP_MS = FORGOTTEN_MS;

const HANDSHAKES_MAX = 64;
const LAG_MS_MAX = 20;
const HEADROOM_MIN = 0.1;

export class Pacer {
  /** Set by the first step that has something to do. */
  #perSecond = 0;
  #steppedAtMs = Number.NEGATIVE_INFINITY;
  #stoppedUntilMs = Number.NEGATIVE_INFINITY;
  #busyAtMs = Number.NEGATIVE_INFINITY;
  #aliveBefore = new Set<string>();
  /** Since the last step up or down. */
  #hasSeenPressure = false;
  #reason: Pace['reason'] = 'held';

  constructor(readonly options: PaceOptions) {}

  /**
   * To be called once a second or oftener.
   * @param receivers of all moves in flight; one that is missing has not reported
   */
  step(nowMs: number, donors: readonly Donor[], receivers: readonly ReceiverReport[]): Pace {
    const clientsRemaining = donors.reduce((sum, donor) => sum + donor.clientsRemaining, 0);
    const hasDied = receivers.some(
      ({ edgeId, isAlive }) => !isAlive && this.#aliveBefore.has(edgeId),
    );
    this.#aliveBefore = new Set(receivers.flatMap((r) => (r.isAlive ? [r.edgeId] : [])));
    if (hasDied) this.#stoppedUntilMs = nowMs + STOP_MS;
    if (nowMs < this.#stoppedUntilMs) return divide(0, donors, clientsRemaining, 'stopped');
    if (clientsRemaining === 0) return divide(0, donors, 0, 'nothing-to-do');
    if (nowMs >= this.#busyAtMs + FORGOTTEN_MS) this.#perSecond = this.#first();
    this.#busyAtMs = nowMs;
    this.#hasSeenPressure ||= receivers.some(isUnderPressure);
    if (nowMs >= this.#steppedAtMs + STEP_MS) {
      this.#steppedAtMs = nowMs;
      this.#adjust(nowMs, clientsRemaining, receivers);
      this.#hasSeenPressure = false;
    }
    return divide(this.#perSecond, donors, clientsRemaining, this.#reason);
  }

  #adjust(nowMs: number, clientsRemaining: number, receivers: readonly ReceiverReport[]): void {
    const { perSecondMax } = this.options;
    if (this.#hasSeenPressure) {
      this.#reason = 'pressure';
      this.#perSecond = Math.max(PER_SECOND_MIN, this.#perSecond / 2);
    } else if (receivers.length === 0 || receivers.some((one) => nowMs > one.atMs + FRESH_MS)) {
      this.#reason = 'held';
    } else {
      this.#reason = 'idle';
      // A rate that nobody makes use of proves nothing about a higher one (as RFC 7661 says of TCP).
      if (clientsRemaining < this.#perSecond) return;
      this.#perSecond = Math.min(perSecondMax, this.#perSecond + STEP_SHARE * perSecondMax);
    }
  }

  #first(): number {
    return Math.max(PER_SECOND_MIN, STEP_SHARE * this.options.perSecondMax);
  }
}

function isUnderPressure(report: ReceiverReport): boolean {
  return (
    report.handshakesPending > HANDSHAKES_MAX ||
    report.eventLoopLagP99Ms > LAG_MS_MAX ||
    report.memoryHeadroom < HEADROOM_MIN
  );
}

/** In proportion to what each has left, so that all end together. */
function divide(
  perSecond: number,
  donors: readonly Donor[],
  clientsRemaining: number,
  reason: Pace['reason'],
): Pace {
  const share = clientsRemaining === 0 ? 0 : perSecond / clientsRemaining;
  return {
    perSecond,
    byEdge: new Map(donors.map((donor) => [donor.edgeId, share * donor.clientsRemaining])),
    secondsRemaining: clientsRemaining === 0 ? 0 : clientsRemaining / perSecond,
    reason,
  };
}
