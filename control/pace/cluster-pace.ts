/** The present pace of GOAWAYs, cluster-wide and per edge, with the limits that operators set. */
import { type Donor, type Pace, Pacer, type ReceiverReport } from './pace.js';

/** How fast one edge sends GOAWAYs to its clients. */
export interface EdgePace {
  /** GOAWAYs per second. */
  readonly perSecond: number;
  /** When the edge disconnects the rest, in ms of the monotonic clock; undefined: never. */
  readonly drainUntilMs: number | undefined;
}

/** Limits that an operator has set for one drain. */
export interface DrainLimits {
  /** GOAWAYs per second; Infinity: no limit besides the cluster's pace. */
  readonly perSecondMax: number;
  /** As `drainUntilMs` of `EdgePace`. */
  readonly untilMs: number | undefined;
}

const NO_PACE: Pace = {
  perSecond: 0,
  byEdge: new Map(),
  secondsRemaining: 0,
  reason: 'nothing-to-do',
};

export class ClusterPace {
  /** By edge id. */
  readonly #drains = new Map<string, DrainLimits>();
  #pacer: Pacer;
  #current = NO_PACE;

  /** @param perSecondMax reconnects per second that the cluster can bear */
  constructor(readonly perSecondMax: number) {
    this.#pacer = new Pacer({ perSecondMax });
  }

  get current(): Pace {
    return this.#current;
  }

  /** For a new term: neither rates nor limits of the previous one apply. */
  reset(): void {
    this.#drains.clear();
    this.#pacer = new Pacer({ perSecondMax: this.perSecondMax });
    this.#current = NO_PACE;
  }

  setDrainLimits(edgeId: string, limits: DrainLimits): void {
    this.#drains.set(edgeId, limits);
  }

  update(nowMs: number, donors: readonly Donor[], receivers: readonly ReceiverReport[]): void {
    this.#current = this.#pacer.step(nowMs, donors, receivers);
  }

  /** @param isDraining asked only if there are limits: they apply only while the edge drains */
  ofEdge(edgeId: string, isDraining: () => boolean): EdgePace {
    const known = this.#drains.get(edgeId);
    const limits = known !== undefined && isDraining() ? known : undefined;
    const perSecond = this.#current.byEdge.get(edgeId) ?? 0;
    return {
      perSecond: Math.min(perSecond, limits?.perSecondMax ?? Number.POSITIVE_INFINITY),
      drainUntilMs: limits?.untilMs,
    };
  }
}
