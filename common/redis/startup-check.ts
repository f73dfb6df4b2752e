/** Startup check of Redis: its version, our permissions, and whether it is a Redis Cluster. */
import { Redis } from 'ioredis';
import { EnvironmentError } from '../process/lifecycle.js';
import { addressOf, connectionOptions, type Endpoint } from './connection.js';
import type { Attempt } from './retry.js';
import { findMaster } from './sentinel.js';
import { parseClusterSlots, type SlotMap, singleMaster } from './slot-map.js';

export interface StartupCheck {
  /** The server that passed the check. */
  readonly endpoint: Endpoint;
  readonly isCluster: boolean;
  readonly slotMap: SlotMap;
}

/** Sharded pub/sub was added in 7.0. */
const MAJOR_VERSION_MIN = 7;

/** Error codes that a retry does not help against. */
const FORBIDDEN = /^(?:WRONGPASS|NOAUTH|NOPERM)\b/;

/**
 * Harmless commands that together need every permission Longline needs: keys and channels `ll:*`,
 * channels `lr:*`. Redis checks permissions before it redirects, so any node of a cluster will do.
 */
const PERMISSION_CHECKS = [
  ['exists', 'll:settings'],
  ['ssubscribe', 'll:{0}'],
  ['ssubscribe', 'lr:{0}:startup-check'],
  ['spublish', 'lr:{0}:startup-check', ''],
] as const;

/**
 * Checks the servers one after another and returns the first that is available.
 * @param sentinelMaster undefined: the seeds are Redis servers, not Sentinels
 * @throws EnvironmentError when a server is too old, or rejects our credentials or commands
 */
export async function runStartupCheck(
  seeds: readonly Endpoint[],
  sentinelMaster: string | undefined,
  name: string,
): Promise<Attempt<StartupCheck>> {
  if (sentinelMaster === undefined) return checkServers(seeds, name);
  const master = await findMaster(seeds, sentinelMaster, name);
  return master.type === 'unavailable' ? master : checkServers([master.value], name);
}

async function checkServers(
  servers: readonly Endpoint[],
  name: string,
): Promise<Attempt<StartupCheck>> {
  const reasons: string[] = [];
  for (const server of servers) {
    const result = await checkServer(server, name);
    if (result.type === 'done') return result;
    reasons.push(`${addressOf(server)}: ${result.reason}`);
  }
  return { type: 'unavailable', reason: reasons.join('; ') };
}

async function checkServer(endpoint: Endpoint, name: string): Promise<Attempt<StartupCheck>> {
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
    const tooOld = rejectVersion(info.get('redis_version') ?? 'unknown');
    if (tooOld !== undefined) throw new EnvironmentError(`${addressOf(endpoint)}: ${tooOld}`);
    if (info.get('loading') === '1') {
      return { type: 'unavailable', reason: 'it is loading its data' };
    }
    await checkPermissions(redis);
    const isCluster = info.get('cluster_enabled') === '1';
    const slotMap = isCluster
      ? parseClusterSlots(await redis.cluster('SLOTS'), endpoint.host)
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

async function checkPermissions(redis: Redis): Promise<void> {
  const replies = await redis.pipeline(PERMISSION_CHECKS.map((check) => [...check])).exec();
  for (const [error] of replies ?? []) {
    // Any other error, such as MOVED, means that the permission check was passed.
    if (error && FORBIDDEN.test(error.message)) throw error;
  }
}

function parseInfo(text: string): Map<string, string> {
  return new Map(
    text.split('\r\n').flatMap((line) => {
      const colon = line.indexOf(':');
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const];
    }),
  );
}

/** Returns the error if `version` is too old. */
export function rejectVersion(version: string): string | undefined {
  if (Number.parseInt(version, 10) >= MAJOR_VERSION_MIN) return undefined;
  return `Redis is ${version}; sharded pub/sub needs ${MAJOR_VERSION_MIN}.0.0 or newer`;
}
