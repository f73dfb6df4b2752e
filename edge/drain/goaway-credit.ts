/**
 * Turns a rate, which may change with every call, into whole goaways; the credit saved while none
 * are due is bounded. Pure.
 */
import { TokenBucket } from '../../common/process/token-bucket.js';

/** After a stall of the event loop, no more than this is made up for at once. */
const BURST_MS = 500;

export class GoawayCredit {
  readonly #bucket = new TokenBucket(0, 0);

  /** Returns how many goaways are due since the last call, and deducts them. */
  take(nowMs: number, perSecond: number): number {
    if (perSecond > 0) {
      this.#bucket.setRate(perSecond, Math.max(1, (perSecond * BURST_MS) / 1_000));
    } else {
      // Also for NaN: the rate was received over the network.
      this.#bucket.setRate(0, 0);
    }
    return this.#bucket.takeWhole(nowMs);
  }
}
