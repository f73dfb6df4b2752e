import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 10;

/**
 * Resolves with what `fn` returns as soon as it neither throws nor returns false; rejects with its
 * last error when that takes longer than `deadlineMs`.
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
