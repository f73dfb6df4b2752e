/** Startup check of Redis: its version, our permissions, and whether it is a Redis Cluster. */
import { Redis } from 'ioredis';
import { EnvironmentError } from '../process/lifecycle.js';
import { addressOf, connectionOptions, type Endpoint } from './connection.js';
import type { RedisNames } from './redis-names.js';
import { parseInfo, rejectPolicy, rejectVersion } from './requirements.js';
import type { Attempt } from './retry.js';
import { findMaster } from './sentinel.js';
import { parseClusterSlots, type SlotMap, singleMaster } from './slot-map.js';

export interface StartupCheck {
  /** The server that passed the check. */
  readonly endpoint: Endpoint;
  readonly isCluster: boolean;
  readonly slotMap: SlotMap;
}

/** Error codes that a retry does not help against. */
const FORBIDDEN = /^(?:WRONGPASS|NOAUTH|NOPERM)\b/;

/**
 * Harmless commands that together need every permission Longline needs: keys and channels `ll:*`,
 * channels `lr:*`, each after the prefix. Redis checks permissions before it redirects, so any node
 * of a cluster will do.
 */
function permissionChecks(names: RedisNames): string[][] {
  const ownChannel = names.privateChannel('0', 'startup-check');
  return [
    ['exists', names.settings],
    ['hgetall', names.blocks],
    // No user has an empty name, so there is no such set.
    ['zremrangebyrank', `${names.shardChannel('0')}:dev:`, '0', '0'],
    // Nor has a group.
    ['bitpos', `${names.shardChannel('0')}:gix:`, '1'],
    ['ssubscribe', names.shardChannel('0')],
    ['ssubscribe', ownChannel],
    ['spublish', ownChannel, ''],
  ];
}

/**
 * Checks the servers one after another and returns the first that is available.
 * @param sentinelMaster undefined: the seeds are Redis servers, not Sentinels
 * @param evictionAccepted the evicting policy that is accepted; undefined: none
 * @throws EnvironmentError when a server is too old, evicts keys, or rejects our credentials or
 *   commands
 */
export async function runStartupCheck(
  seeds: readonly Endpoint[],
  sentinelMaster: string | undefined,
  names: RedisNames,
  name: string,
  evictionAccepted: string | undefined,
): Promise<Attempt<StartupCheck>> {
  if (sentinelMaster === undefined) return checkServers(seeds, names, name, evictionAccepted);
  const master = await findMaster(seeds, sentinelMaster, name);
  return master.type === 'unavailable'
    ? master
    : checkServers([master.value], names, name, evictionAccepted);
}

async function checkServers(
  servers: readonly Endpoint[],
  names: RedisNames,
  name: string,
  evictionAccepted: string | undefined,
): Promise<Attempt<StartupCheck>> {
  const reasons: string[] = [];
  for (const server of servers) {
    const result = await checkServer(server, names, name, evictionAccepted);
    if (result.type === 'done') return result;
    reasons.push(`${addressOf(server)}: ${result.reason}`);
  }
  return { type: 'unavailable', reason: reasons.join('; ') };
}

async function checkServer(
  endpoint: Endpoint,
  names: RedisNames,
  name: string,
  evictionAccepted: string | undefined,
): Promise<Attempt<StartupCheck>> {
  const redis = new Redis({
    ...connectionOptions(endpoint, name),
    lazyConnect: true,
    retryStrategy: () => null,
    // ioredis would wait for a server that is loading its data; our caller retries instead.
    enableReadyCheck: false,
  });
  let reason = 'connection closed';
  // The event has the cause; the rejection of `connect` only says that the connection was closed.
  redis.on('error', (error) => {
    reason = error.message;
  });
  try {
    await redis.connect();
    const info = parseInfo(await redis.info());
    const problem =
      rejectVersion(info.get('redis_version') ?? 'unknown') ??
      rejectPolicy(info.get('maxmemory_policy'), evictionAccepted);
    if (problem !== undefined) throw new EnvironmentError(`${addressOf(endpoint)}: ${problem}`);
    if (info.get('loading') === '1') {
      return { type: 'unavailable', reason: 'it is loading its data' };
    }
    await checkPermissions(redis, names);
    const isCluster = info.get('cluster_enabled') === '1';
    // Such as a name that still leads to a demoted master.
    if (!isCluster && info.get('role') === 'slave') {
      return {
        type: 'unavailable',
        reason: 'it is a replica; the address must lead to the master',
      };
    }
    const slotMap = isCluster
      ? parseClusterSlots(await redis.cluster('SLOTS'), endpoint.host, endpoint.natMap)
      : singleMaster(addressOf(endpoint));
    if (slotMap.masters.length === 0) {
      return { type: 'unavailable', reason: 'its cluster has no slots' };
    }
    return { type: 'done', value: { endpoint, isCluster, slotMap } };
  } catch (error) {
    if (error instanceof EnvironmentError) throw error;
    const message = (error as Error).message;
    for (const text of [message, reason]) {
      if (FORBIDDEN.test(text)) {
        throw new EnvironmentError(`Redis at ${addressOf(endpoint)} rejects us: ${text}`);
      }
    }
    return { type: 'unavailable', reason: message === 'Connection is closed.' ? reason : message };
  } finally {
    redis.disconnect();
  }
}

async function checkPermissions(redis: Redis, names: RedisNames): Promise<void> {
  const replies = await redis.pipeline(permissionChecks(names)).exec();
  for (const [error] of replies ?? []) {
    // Any other error, such as MOVED, means that the permission check was passed.
    if (error && FORBIDDEN.test(error.message)) throw error;
  }
}
