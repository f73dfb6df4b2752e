import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS_MIN = 10;
const POLL_MS_MAX = 250;
/** Interval of polls, as a share of the time waited so far: a long wait should cost little CPU. */
const POLL_SHARE = 0.05;
/** Generous, because it proves no timing: CI machines are slow and busy. */
const DEADLINE_MS = 60_000;

/**
 * Polls `fn` until it neither throws nor returns false. Resolves with its result; rejects with its
 * last error after `deadlineMs`.
 */
export async function eventually<T>(
  fn: () => T | Promise<T>,
  deadlineMs = DEADLINE_MS,
): Promise<T> {
  const startMs = performance.now();
  for (;;) {
    let failure: unknown;
    try {
      const result = await fn();
      if (result !== false) return result;
      failure = new Error(`still false after ${deadlineMs} ms: ${fn}`);
    } catch (error) {
      failure = error;
    }
    const waitedMs = performance.now() - startMs;
    if (waitedMs >= deadlineMs) throw failure;
    await sleep(Math.min(POLL_MS_MAX, Math.max(POLL_MS_MIN, waitedMs * POLL_SHARE)));
  }
}
