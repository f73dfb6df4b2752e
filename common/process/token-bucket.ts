/**
 * Token bucket: `perSecond` tokens a second on average, and up to `burst` of them at once. Time is
 * an argument, in milliseconds of any monotonic clock.
 *
 * A caller that may take anything may take more than there is: the rest is a debt, and nothing is
 * granted until it is paid off. So a bound of a hundred does not rule out a call for a thousand.
 */
export class TokenBucket {
  #perSecond: number;
  #burst: number;
  #tokens: number;
  #atMs: number;

  /** Starts full. */
  constructor(perSecond: number, nowMs: number, burst = perSecond) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#tokens = burst;
    this.#atMs = nowMs;
  }

  /** The time since the last call of another method counts at the new rate. */
  setRate(perSecond: number, burst: number): void {
    this.#perSecond = perSecond;
    this.#burst = burst;
  }

  /** Returns false, and takes nothing, while no token is left. */
  take(nowMs: number, count = 1): boolean {
    this.#refill(nowMs);
    if (this.#tokens <= 0) return false;
    this.#tokens -= count;
    return true;
  }

  /** Takes all whole tokens and returns their number. */
  takeWhole(nowMs: number): number {
    this.#refill(nowMs);
    const whole = Math.max(0, Math.floor(this.#tokens));
    this.#tokens -= whole;
    return whole;
  }

  /** Takes tokens for work that is done already, however few are left. */
  charge(nowMs: number, count: number): void {
    this.#refill(nowMs);
    this.#tokens -= count;
  }

  /** Milliseconds until the debt is paid off; 0: there is none. */
  debtMs(nowMs: number): number {
    this.#refill(nowMs);
    return Math.max(0, (-this.#tokens * 1_000) / this.#perSecond);
  }

  #refill(nowMs: number): void {
    const earned = ((nowMs - this.#atMs) * this.#perSecond) / 1_000;
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, earned));
    this.#atMs = nowMs;
  }
}
