/**
 * Settings that the whole cluster must agree on. The first process to start stores its own; every
 * later one compares.
 */
import { EnvironmentError } from '../process/lifecycle.js';
import type { RedisLink } from '../redis/redis-link.js';
import { type Attempt, retryUntilAvailable } from '../redis/retry.js';

export interface ClusterSettings {
  readonly shardCount: number;
}

const KEY = 'll:settings';

/** @throws EnvironmentError naming both values when the cluster has another shard count */
export async function agreeOnSettings(
  link: Pick<RedisLink, 'execute' | 'log'>,
  { shardCount }: ClusterSettings,
  onWaiting?: (reason: string) => void,
): Promise<void> {
  const stored = await retryUntilAvailable(
    link.log,
    () => storeOrRead(link, shardCount),
    onWaiting,
  );
  if (stored !== String(shardCount)) {
    throw new EnvironmentError(
      `LONGLINE_SHARD_COUNT is ${shardCount} here, but this cluster was started with ${stored}; ` +
        `set it to ${stored}`,
    );
  }
}

/**
 * Stores the settings again in a Redis that has come back empty, so that who starts later still has
 * something to agree with. To be called about once a second; a call that fails is made up by the next.
 */
export async function restoreSettings(
  link: Pick<RedisLink, 'execute'>,
  { shardCount }: ClusterSettings,
): Promise<void> {
  await link.execute('hsetnx', [KEY, 'shardCount', shardCount]);
}

/** Both commands are harmless when repeated, so a lost answer needs no care. */
async function storeOrRead(
  link: Pick<RedisLink, 'execute'>,
  shardCount: number,
): Promise<Attempt<string>> {
  const storing = await link.execute('hsetnx', [KEY, 'shardCount', shardCount]);
  if (storing.type !== 'done') return { type: 'away', reason: storing.reason };
  const reading = await link.execute<string | null>('hget', [KEY, 'shardCount']);
  if (reading.type !== 'done') return { type: 'away', reason: reading.reason };
  // Null: someone deleted the hash between the two commands.
  if (reading.reply === null) return { type: 'away', reason: `${KEY} has just been deleted` };
  return { type: 'answered', value: reading.reply };
}
