import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../cli/failure.js';

/** Asking costs a process each time, on a machine that has better things to do. */
const POLL_MS = 500;

/**
 * Resolves when `isSo` returns true. What it throws counts as false, and is told if that is the end.
 * @param what as in "… did not come true in 60 s"
 * @throws Failure after the deadline
 */
export async function until(
  what: string,
  deadlineMs: number,
  isSo: () => Promise<boolean>,
): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    let why = '';
    try {
      if (await isSo()) return;
    } catch (error) {
      why = `: ${(error as Error).message}`;
    }
    if (performance.now() >= endMs) {
      throw new Failure(`${what}: not in ${deadlineMs / 1000} s${why}`);
    }
    await sleep(POLL_MS);
  }
}
