import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../cli/terminal/failure.js';

/** Each poll starts a process. */
const POLL_MS = 500;

/**
 * Resolves when `condition` returns true. An error that it throws counts as false.
 * @param description of the condition, for the message: "node-1 is ready"
 * @throws Failure after the deadline, with the last error
 */
export async function until(
  description: string,
  deadlineMs: number,
  condition: () => Promise<boolean>,
): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    let lastError = '';
    try {
      if (await condition()) return;
    } catch (error) {
      lastError = `: ${(error as Error).message}`;
    }
    if (performance.now() >= endMs) {
      throw new Failure(`not true after ${deadlineMs / 1000} s: ${description}${lastError}`);
    }
    await sleep(POLL_MS);
  }
}
