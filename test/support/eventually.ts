import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits until `check` no longer throws and returns its result. Rejects with its last error after
 * `deadlineMs`.
 */
export async function eventually<T>(check: () => T | Promise<T>, deadlineMs = 5_000): Promise<T> {
  const giveUpMs = performance.now() + deadlineMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > giveUpMs) throw error;
      await sleep(20);
    }
  }
}
