/**
 * Random waiting times, so that processes and clients that lost the same peer at the same moment
 * do not return at the same moment.
 */

/** Bound of the first wait; it doubles with each failure. */
const FIRST_MS_MAX = 100;
const LAST_MS_MAX = 5_000;

/**
 * Returns the milliseconds to wait after `failures` failed attempts (from 1): full jitter over an
 * exponentially growing bound, as in "Exponential Backoff And Jitter" (AWS Architecture Blog,
 * 2015).
 * @param maxMs upper limit of the bound
 * @param random uniform in [0, 1)
 */
export function backoffMs(failures: number, maxMs = LAST_MS_MAX, random = Math.random): number {
  return Math.ceil(Math.min(maxMs, FIRST_MS_MAX * 2 ** (failures - 1)) * random());
}

/** Returns an integer uniformly distributed between `min` and `max`, both included. */
export function randomBetween(min: number, max: number): number {
  return min + Math.floor(Math.random() * (max - min + 1));
}
