/** Retries until Redis is available, without filling the log. */
import { setTimeout as sleep } from 'node:timers/promises';
import { backoffMs } from '../process/backoff.js';
import type { Logger } from '../process/log.js';

export type Attempt<T> =
  | { readonly type: 'done'; readonly value: T }
  | { readonly type: 'unavailable'; readonly reason: string };

const LOG_INTERVAL_MS = 5_000;

/**
 * Calls `attempt` with backoff until it is done, without a limit. Logs the reason at most once per
 * five seconds.
 * @param onWaiting called with the reason after each attempt
 */
export async function retryUntilAvailable<T>(
  log: Logger,
  attempt: () => Promise<Attempt<T>>,
  onWaiting?: (reason: string) => void,
): Promise<T> {
  let loggedAtMs = Number.NEGATIVE_INFINITY;
  for (let tries = 1; ; tries++) {
    const result = await attempt();
    if (result.type === 'done') return result.value;
    onWaiting?.(result.reason);
    if (performance.now() - loggedAtMs >= LOG_INTERVAL_MS) {
      loggedAtMs = performance.now();
      log.warn({ reason: result.reason }, 'waiting for Redis');
    }
    await sleep(backoffMs(tries));
  }
}
