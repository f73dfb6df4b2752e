/** Makes whole goaways of a rate: what is saved up while nobody is to go is bounded. Pure. */

/** After a stall of the event loop, no more than this is made up for at once. */
const BURST_MS = 500;

export class GoawayCredit {
  #credit = 0;
  #atMs = Number.NEGATIVE_INFINITY;

  /** How many may be told to go now, since the last call. They count as told. */
  take(nowMs: number, perSecond: number): number {
    const passedMs = Math.max(0, Math.min(nowMs - this.#atMs, BURST_MS));
    this.#atMs = nowMs;
    // A rate that is none, too: it came over the wire.
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
