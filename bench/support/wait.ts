/** Waits of benches: each says what it waits for, and gives up. */
import { setTimeout as sleep } from 'node:timers/promises';
import { progress } from './report.js';

const POLL_MS = 20;
const SAID_AGAIN_MS = 5_000;

/**
 * Resolves when nothing is missing.
 * @param what for the messages
 * @param missing returns what is missing, or undefined
 * @throws Error after so many seconds
 */
export async function waitUntil(
  what: string,
  secondsMax: number,
  missing: () => string | undefined | Promise<string | undefined>,
): Promise<void> {
  const startMs = performance.now();
  let sayAtMs = startMs + SAID_AGAIN_MS;
  for (;;) {
    const rest = await missing();
    if (rest === undefined) return;
    const nowMs = performance.now();
    const line = `${what}, ${Math.round((nowMs - startMs) / 1_000)} s: ${rest}`;
    if (nowMs > startMs + secondsMax * 1_000) throw new Error(`gave up: ${line}`);
    if (nowMs > sayAtMs) {
      progress(line);
      sayAtMs = nowMs + SAID_AGAIN_MS;
    }
    await sleep(POLL_MS);
  }
}
