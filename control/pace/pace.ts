/**
 * Pace: how many clients per second get a GOAWAY, cluster-wide. A closed loop: the receiving edges
 * report their load, and the rate follows it. The rate rises by a small step while all receivers
 * are idle and is halved as soon as one is under pressure. Like TCP's congestion control, many
 * small steps up and one large step down converge near what the receivers can take, without
 * knowing that value. A TokenBucket, by contrast, enforces a rate that is given: the edges enforce
 * the one that results here (edge/drain/goaway-credit.ts).
 *
 * - Unknown is not idle: without fresh reports the rate stays where it is.
 * - When a receiver dies during a move, its clients are a reconnect storm of their own, so no
 *   GOAWAYs are sent until that is over.
 */

export interface ReceiverReport {
  readonly edgeId: string;
  readonly isAlive: boolean;
  /** When the edge reported this. */
  readonly atMs: number;
  /** Connections that are accepted and not served yet. */
  readonly handshakesPending: number;
  readonly eventLoopLagP99Ms: number;
  /** Share of its memory that is free, 0 to 1. */
  readonly memoryHeadroom: number;
}

export interface Donor {
  readonly edgeId: string;
  /** Clients that have to reconnect to another edge. */
  readonly clientsRemaining: number;
}

export interface PaceOptions {
  /** Reconnects per second that the cluster can bear. */
  readonly perSecondMax: number;
}

export interface Pace {
  readonly perSecond: number;
  /** GOAWAYs per second of each donor; sums to `perSecond`. */
  readonly byEdge: ReadonlyMap<string, number>;
  /** Time until no clients remain; Infinity while stopped, 0 when none remain. */
  readonly secondsRemaining: number;
  /** `held`: reports of a receiver are missing or old. */
  readonly reason: 'idle' | 'pressure' | 'held' | 'stopped' | 'nothing-to-do';
}

const STEP_MS = 2_000;
const FRESH_MS = 6_000;
/** Initial rate and step up, as a share of `perSecondMax`. */
const STEP_SHARE = 0.02;
/**
 * After this time without GOAWAYs the last rate says nothing about the present, and the rate
 * starts again from its initial value (RFC 5681, section 4.1, does the same for TCP).
 */
const IDLE_RESET_MS = 10_000;
/** A move ends even under lasting pressure. */
const PER_SECOND_MIN = 1;
/** Pause after the death of a receiver. */
const STOP_MS = IDLE_RESET_MS;

/** Values beyond these are pressure. */
const HANDSHAKES_MAX = 64;
const LAG_MS_MAX = 20;
const HEADROOM_MIN = 0.1;

export class Pacer {
  /** Set by the first step with clients to move. */
  #perSecond = 0;
  #steppedAtMs = Number.NEGATIVE_INFINITY;
  #stoppedUntilMs = Number.NEGATIVE_INFINITY;
  #busyAtMs = Number.NEGATIVE_INFINITY;
  #aliveBefore = new Set<string>();
  /** Since the last adjustment. */
  #hasSeenPressure = false;
  #reason: Pace['reason'] = 'held';

  constructor(readonly options: PaceOptions) {}

  /**
   * Must be called at least once per second.
   * @param receivers of all moves in flight; empty: none has reported
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
    if (nowMs >= this.#busyAtMs + IDLE_RESET_MS) this.#perSecond = this.#initialRate();
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
      // A rate that is not used says nothing about a higher one (RFC 7661 has this for TCP).
      if (clientsRemaining < this.#perSecond) return;
      this.#perSecond = Math.min(perSecondMax, this.#perSecond + STEP_SHARE * perSecondMax);
    }
  }

  #initialRate(): number {
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

/** Divides the rate in proportion to the remaining clients, so that all donors finish together. */
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
