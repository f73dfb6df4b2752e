/**
 * How long to wait before the next try: full jitter over an exponentially growing bound, as in
 * "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). Whoever lost the same neighbour
 * at the same moment comes back spread over the whole bound.
 */
const FIRST_BOUND_MS = 100;
const LAST_BOUND_MS = 5_000;

/** @param tries failed tries so far, from 1 · @param random uniform in [0, 1) */
export function backoffMs(tries: number, random: number): number {
  const boundMs = Math.min(LAST_BOUND_MS, FIRST_BOUND_MS * 2 ** (tries - 1));
  return Math.ceil(boundMs * random);
}
