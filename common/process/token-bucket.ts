/**
 * So many a second on average, and a second's worth at once. A caller that may take something may
 * take much at once: what is beyond is a debt, and nothing more is given until it is worked off. So a
 * bound of a hundred does not make a call that counts for a thousand impossible.
 */
export class TokenBucket {
  #level: number;
  #atMs: number;

  constructor(
    readonly perSecond: number,
    nowMs: number,
  ) {
    this.#level = perSecond;
    this.#atMs = nowMs;
  }

  /** Returns false, and takes nothing, while nothing is left. */
  take(nowMs: number, count = 1): boolean {
    const earned = ((nowMs - this.#atMs) * this.perSecond) / 1_000;
    this.#level = Math.min(this.perSecond, this.#level + Math.max(0, earned));
    this.#atMs = nowMs;
    if (this.#level <= 0) return false;
    this.#level -= count;
    return true;
  }
}
