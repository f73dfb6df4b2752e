import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 10;

/**
 * Polls `fn` until it neither throws nor returns false. Resolves with its result; rejects with its
 * last error after `deadlineMs`.
 */
export async function eventually<T>(fn: () => T | Promise<T>, deadlineMs = 5_000): Promise<T> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    let failure: unknown;
    try {
      const result = await fn();
      if (result !== false) return result;
      failure = new Error(`still false after ${deadlineMs} ms: ${fn}`);
    } catch (error) {
      failure = error;
    }
    if (performance.now() >= endMs) throw failure;
    await sleep(POLL_MS);
  }
}
