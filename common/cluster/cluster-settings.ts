/**
 * Settings that must be equal in the whole cluster, and the name that tells it from other clusters.
 * The first process to start stores its own in Redis; every later one compares. All compare again
 * while they run: a restored backup, or an address that points to another Redis, would otherwise
 * mix the pushes of two clusters.
 */
import { EnvironmentError, exitForEnvironment } from '../process/lifecycle.js';
import type { RedisLink } from '../redis/redis-link.js';
import { type Attempt, retryUntilAvailable } from '../redis/retry.js';
import { isShardCount } from './shard.js';

export interface ClusterSettings {
  readonly shardCount: number;
  /** Undefined: the cluster has no name. */
  readonly clusterName: string | undefined;
}

interface Stored {
  /** Null: nothing is stored. */
  readonly shardCount: string | null;
  readonly clusterName: string | null;
}

type Link = Pick<RedisLink, 'execute' | 'log' | 'names'>;
type WatchedLink = Link & Pick<RedisLink, 'subscriber' | 'masterCheck'>;

const COMPARE_INTERVAL_MS = 2_000;

/** @throws EnvironmentError when Redis has the settings of another cluster */
export async function agreeOnSettings(
  link: Link,
  settings: ClusterSettings,
  onWaiting?: (reason: string) => void,
): Promise<void> {
  const stored = await retryUntilAvailable(link.log, () => storeAndRead(link, settings), onWaiting);
  const key = link.names.settings;
  const problem = findDamage(stored, settings, key) ?? findConflict(stored, settings, key);
  if (problem !== undefined) throw new EnvironmentError(problem);
}

/**
 * Compares every two seconds, as long as the process runs, and ends it when Redis has the settings
 * of another cluster: an edge would deliver that cluster's pushes. One read ends nothing, because
 * an address may lead to a wrong server for a moment: two in a row from one server do.
 */
export function watchSettings(link: WatchedLink, settings: ClusterSettings): void {
  const key = link.names.settings;
  let isNameReported = settings.clusterName !== undefined;
  let isDamageReported = false;
  /** Run id of the server of the last read, if that found a conflict. */
  let suspect: string | undefined;
  const compare = async () => {
    const read = await readStored(link);
    if (read.type !== 'done') return;
    // A process without a name, while its cluster gets one: it starts with the name next time.
    const { clusterName } = read.value;
    if (settings.clusterName === undefined && clusterName !== null && !isNameReported) {
      isNameReported = true;
      link.log.warn({ clusterName }, 'the cluster has a name now; set LONGLINE_CLUSTER_NAME to it');
    }
    const damage = findDamage(read.value, settings, key);
    if (damage !== undefined && !isDamageReported) link.log.error(damage);
    isDamageReported = damage !== undefined;
    const own = {
      shardCount: damage === undefined ? read.value.shardCount : null,
      clusterName: settings.clusterName === undefined ? null : clusterName,
    };
    const problem = findConflict(own, settings, key);
    if (problem === undefined) {
      suspect = undefined;
      return;
    }
    const server = link.masterCheck.runIdAt(link.subscriber.masterOf(key) ?? '');
    if (server === suspect) exitForEnvironment(new EnvironmentError(problem));
    suspect = server;
    link.log.error({ problem, runId: server }, 'Redis has the settings of another cluster');
  };
  setInterval(() => void compare(), COMPARE_INTERVAL_MS).unref();
}

/**
 * Stores the settings again in a Redis that lost its data, for processes that start later. To be
 * called about once a second: the next call makes up for one that fails.
 */
export async function restoreSettings(
  link: Pick<RedisLink, 'execute' | 'names'>,
  { shardCount, clusterName }: ClusterSettings,
): Promise<void> {
  const key = link.names.settings;
  const restored = link.execute('hsetnx', [key, 'shardCount', shardCount]);
  if (clusterName !== undefined) void link.execute('hsetnx', [key, 'clusterName', clusterName]);
  await restored;
}

/** All commands are idempotent, so a lost reply needs no handling. */
async function storeAndRead(link: Link, settings: ClusterSettings): Promise<Attempt<Stored>> {
  const { shardCount, clusterName } = settings;
  const key = link.names.settings;
  const written = await link.execute('hsetnx', [key, 'shardCount', shardCount]);
  if (written.type !== 'done') return { type: 'unavailable', reason: written.reason };
  const read = await readStored(link);
  if (read.type !== 'done' || clusterName === undefined) return read;
  // The name is not given to a cluster with other settings.
  if (read.value.clusterName !== null || findConflict(read.value, settings, key)) return read;
  const named = await link.execute('hsetnx', [key, 'clusterName', clusterName]);
  if (named.type !== 'done') return { type: 'unavailable', reason: named.reason };
  return readStored(link);
}

async function readStored(link: Link): Promise<Attempt<Stored>> {
  const key = link.names.settings;
  const fields = [key, 'shardCount', 'clusterName'];
  const read = await link.execute<(string | null)[]>('hmget', fields);
  if (read.type !== 'done') return { type: 'unavailable', reason: read.reason };
  const [shardCount = null, clusterName = null] = read.reply;
  return { type: 'done', value: { shardCount, clusterName } };
}

/** A shard count that no cluster can have was damaged, and is not that of another cluster. */
function findDamage(
  stored: Stored,
  { shardCount }: ClusterSettings,
  key: string,
): string | undefined {
  const { shardCount: text } = stored;
  if (text === null || (String(Number(text)) === text && isShardCount(Number(text))))
    return undefined;
  return (
    `shardCount under ${key} in Redis is damaged: "${text}" is not a power of two up to 16384. If ` +
    `the cluster was started with ${shardCount}, run: redis-cli HSET ${key} shardCount ${shardCount}`
  );
}

/** A setting that is not stored, as after Redis has lost its data, is no conflict. */
function findConflict(
  stored: Stored,
  { shardCount, clusterName }: ClusterSettings,
  key: string,
): string | undefined {
  if (stored.clusterName !== null && stored.clusterName !== clusterName) {
    const own = clusterName === undefined ? 'is not set' : `is "${clusterName}"`;
    return (
      `LONGLINE_CLUSTER_NAME ${own}, but Redis has the cluster "${stored.clusterName}" under ` +
      `${key}. For another cluster, set another LONGLINE_REDIS_PREFIX or use another Redis. To ` +
      `join this one, set LONGLINE_CLUSTER_NAME to "${stored.clusterName}". To rename it, stop ` +
      `all its processes and run: redis-cli HDEL ${key} clusterName`
    );
  }
  if (stored.shardCount !== null && stored.shardCount !== String(shardCount)) {
    return (
      `LONGLINE_SHARD_COUNT is ${shardCount}, but this cluster was started with ` +
      `${stored.shardCount}; set it to ${stored.shardCount}`
    );
  }
  return undefined;
}
