/**
 * Bounds how many queries of one call are started at once, without letting their waits add up.
 *
 * A query holds a place until it is done, but for 100 ms at most. If all places are taken when that
 * happens, their number doubles. So healthy edges see few queries at once, and all shards of an
 * edge that does not answer cost one timeout together, not one each. For one caller of `untilFree`.
 * The number of unfinished queries never exceeds `pendingMax`.
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
  /** Start time of each query that holds a place, by its number; oldest first. */
  readonly #heldSinceMs = new Map<number, number>();
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
    return this.#until(
      () => this.#heldSinceMs.size < this.#atOnce && this.#pending < this.#pendingMax,
    );
  }

  /** To be called once after each `untilFree`. */
  hold(query: Promise<void>): void {
    const number = this.#started++;
    this.#heldSinceMs.set(number, performance.now());
    this.#pending++;
    const onDone = () => {
      this.#pending--;
      this.#heldSinceMs.delete(number);
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
    const areAllHeld = this.#heldSinceMs.size === this.#atOnce;
    for (const [number, sinceMs] of this.#heldSinceMs) {
      if (sinceMs > nowMs - HOLD_MS) break;
      this.#heldSinceMs.delete(number);
    }
    if (areAllHeld && this.#heldSinceMs.size < this.#atOnce) {
      this.#atOnce = Math.min(2 * this.#atOnce, this.#pendingMax);
    }
    this.#wake();
  }
}

export function shareOfInFlight({ inFlightMax }: Pick<ShardQueries, 'inFlightMax'>): number {
  return Math.floor(inFlightMax * IN_FLIGHT_SHARE);
}
