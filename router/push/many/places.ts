/**
 * Bounds how much of one call is started at once, without letting the waits of its queries add up.
 *
 * A query holds places until it is done, but for 100 ms at most. If all places are taken when that
 * happens, their number doubles. So healthy edges see few queries at once, and all shards of an
 * edge that does not answer cost one timeout together, not one each. For one caller of `untilFree`.
 * No query is started while the unfinished ones have `pendingMax` places or more.
 */
import type { ShardQueries } from '../../../common/cluster/shard-query.js';

/** One call may use this share of the shard queries in flight that the router permits. */
const IN_FLIGHT_SHARE = 1 / 4;
/** A healthy edge answers within milliseconds. */
const HOLD_MS = 100;
const TICK_MS = 25;

export class Places {
  #atOnce: number;
  readonly #pendingMax: number;
  #pending = 0;
  /** Queries that hold places, by number; oldest first. */
  readonly #holders = new Map<number, { readonly sinceMs: number; readonly places: number }>();
  #held = 0;
  #started = 0;
  #failure: Error | undefined;
  #wake = () => {};
  readonly #tickTimer: NodeJS.Timeout;

  /** @param atOnce places at first */
  constructor(atOnce: number, pendingMax: number) {
    this.#pendingMax = Math.max(1, pendingMax);
    this.#atOnce = Math.min(atOnce, this.#pendingMax);
    this.#tickTimer = setInterval(() => this.#releaseSlow(performance.now()), TICK_MS);
  }

  /** @throws the error of a query that failed */
  untilFree(): Promise<void> {
    return this.#until(() => this.#held < this.#atOnce && this.#pending < this.#pendingMax);
  }

  /** To be called once after each `untilFree`. */
  hold(query: Promise<void>, places = 1): void {
    const number = this.#started++;
    this.#holders.set(number, { sinceMs: performance.now(), places });
    this.#held += places;
    this.#pending += places;
    const onDone = () => {
      this.#pending -= places;
      this.#release(number);
      this.#wake();
    };
    query.then(onDone, (error: Error) => {
      this.#failure ??= error;
      onDone();
    });
  }

  /**
   * Resolves when no query is pending, with true, or when `isDue` is true, with false.
   * @throws the error of a query that failed
   */
  async untilDone(isDue = () => false): Promise<boolean> {
    await this.#until(() => isDue() || this.#pending === 0);
    return !isDue();
  }

  close(): void {
    clearInterval(this.#tickTimer);
  }

  async #until(isReached: () => boolean): Promise<void> {
    while (this.#failure === undefined && !isReached()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  #releaseSlow(nowMs: number): void {
    const areAllHeld = this.#held >= this.#atOnce;
    for (const [number, { sinceMs }] of this.#holders) {
      if (sinceMs > nowMs - HOLD_MS) break;
      this.#release(number);
    }
    if (areAllHeld && this.#held < this.#atOnce) {
      this.#atOnce = Math.min(2 * this.#atOnce, this.#pendingMax);
    }
    this.#wake();
  }

  #release(number: number): void {
    this.#held -= this.#holders.get(number)?.places ?? 0;
    this.#holders.delete(number);
  }
}

export function shareOfInFlight({ inFlightMax }: Pick<ShardQueries, 'inFlightMax'>): number {
  return Math.floor(inFlightMax * IN_FLIGHT_SHARE);
}
