/** Turns a rate into whole goaways; the credit saved while none are due is bounded. Pure. */

/** After a stall of the event loop, no more than this is made up for at once. */
const BURST_MS = 500;

export class GoawayCredit {
  #credit = 0;
  #atMs = Number.NEGATIVE_INFINITY;

  /** Returns how many goaways are due since the last call, and deducts them. */
  take(nowMs: number, perSecond: number): number {
    const passedMs = Math.max(0, Math.min(nowMs - this.#atMs, BURST_MS));
    this.#atMs = nowMs;
    // Also for NaN: the rate was received over the network.
    if (!(perSecond > 0)) {
      this.#credit = 0;
      return 0;
    }
    const burst = Math.max(1, (perSecond * BURST_MS) / 1_000);
    this.#credit = Math.min(burst, this.#credit + (perSecond * passedMs) / 1_000);
    const whole = Math.floor(this.#credit);
    this.#credit -= whole;
    return whole;
  }
}
