/** Waiting for a neighbour that is away, without filling the log. */
import { setTimeout as sleep } from 'node:timers/promises';
import { backoffMs } from '../process/backoff.js';
import type { Logger } from '../process/log.js';

export type Attempt<T> =
  | { readonly type: 'answered'; readonly value: T }
  | { readonly type: 'away'; readonly reason: string };

const SAY_AGAIN_MS = 5_000;

/**
 * Tries until `attempt` is answered, for ever; says in the log why it waits once per five seconds.
 * @param onWaiting hears the reason after each try
 */
export async function retryUntilAvailable<T>(
  log: Logger,
  attempt: () => Promise<Attempt<T>>,
  onWaiting?: (reason: string) => void,
): Promise<T> {
  let saidAtMs = Number.NEGATIVE_INFINITY;
  for (let tries = 1; ; tries++) {
    const result = await attempt();
    if (result.type === 'answered') return result.value;
    onWaiting?.(result.reason);
    if (performance.now() - saidAtMs >= SAY_AGAIN_MS) {
      saidAtMs = performance.now();
      log.warn({ reason: result.reason }, 'waiting for Redis');
    }
    await sleep(backoffMs(tries));
  }
}
