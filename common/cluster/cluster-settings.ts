/**
 * Settings that must be equal in the whole cluster. The first process to start stores its own in
 * Redis; every later one compares.
 */
import { EnvironmentError } from '../process/lifecycle.js';
import type { RedisLink } from '../redis/redis-link.js';
import { type Attempt, retryUntilAvailable } from '../redis/retry.js';

export interface ClusterSettings {
  readonly shardCount: number;
}

/** @throws EnvironmentError naming both values when the cluster has another shard count */
export async function agreeOnSettings(
  link: Pick<RedisLink, 'execute' | 'log' | 'names'>,
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
      `LONGLINE_SHARD_COUNT is ${shardCount}, but this cluster was started with ${stored}; ` +
        `set it to ${stored}`,
    );
  }
}

/**
 * Stores the settings again in a Redis that lost its data, for processes that start later. To be
 * called about once a second: the next call makes up for one that fails.
 */
export async function restoreSettings(
  link: Pick<RedisLink, 'execute' | 'names'>,
  { shardCount }: ClusterSettings,
): Promise<void> {
  await link.execute('hsetnx', [link.names.settings, 'shardCount', shardCount]);
}

/** Both commands are idempotent, so a lost reply needs no handling. */
async function storeOrRead(
  link: Pick<RedisLink, 'execute' | 'names'>,
  shardCount: number,
): Promise<Attempt<string>> {
  const written = await link.execute('hsetnx', [link.names.settings, 'shardCount', shardCount]);
  if (written.type !== 'done') return { type: 'unavailable', reason: written.reason };
  const read = await link.execute<string | null>('hget', [link.names.settings, 'shardCount']);
  if (read.type !== 'done') return { type: 'unavailable', reason: read.reason };
  // The hash was deleted between the two commands.
  if (read.reply === null)
    return { type: 'unavailable', reason: `${link.names.settings} was deleted` };
  return { type: 'done', value: read.reply };
}
