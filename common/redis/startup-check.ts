/** The first look at Redis: is it new enough, does it let us in, is it a Cluster? */
import { Redis } from 'ioredis';
import { privateChannel, shardChannel } from '../cluster/shard.js';
import { EnvironmentError } from '../process/lifecycle.js';
import { addressOf, connectionOptions, type Endpoint } from './connection.js';
import type { Attempt } from './retry.js';
import { askMaster } from './sentinel.js';
import { parseClusterSlots, type SlotMap, singleMaster } from './slot-map.js';

export interface StartupCheck {
  /** The server that answered. */
  readonly endpoint: Endpoint;
  readonly isCluster: boolean;
  readonly slotMap: SlotMap;
}

/** Sharded pub/sub came with 7.0. */
const MAJOR_VERSION_MIN = 7;

/** Error codes that no waiting mends. */
const FORBIDDEN = /^(?:WRONGPASS|NOAUTH|NOPERM)\b/;

/**
 * Harmless commands that need every permission we need. Redis checks permissions before it
 * redirects, so any node of a cluster can answer.
 */
const PERMISSION_CHECKS = [
  ['exists', 'll:settings'],
  ['ssubscribe', shardChannel('0')],
  ['ssubscribe', privateChannel('0', 'checkAtStartup')],
  ['spublish', privateChannel('0', 'checkAtStartup'), ''],
] as const;

/** @param sentinelMaster undefined: the seeds are servers themselves, no Sentinels */
export async function checkAllAtStartup(
  seeds: readonly Endpoint[],
  sentinelMaster: string | undefined,
  name: string,
): Promise<Attempt<StartupCheck>> {
  if (sentinelMaster === undefined) return checkAtStartup(seeds, name);
  const master = await askMaster(seeds, sentinelMaster, name);
  return master.type === 'away' ? master : checkAtStartup([master.value], name);
}

/**
 * Asks each seed once, in order.
 * @throws EnvironmentError when a server answers that can never serve us
 */
export async function checkAtStartup(
  seeds: readonly Endpoint[],
  name: string,
): Promise<Attempt<StartupCheck>> {
  const reasons: string[] = [];
  for (const seed of seeds) {
    const result = await checkOneAtStartup(seed, name);
    if (result.type === 'answered') return result;
    reasons.push(`${addressOf(seed)}: ${result.reason}`);
  }
  return { type: 'away', reason: reasons.join('; ') };
}

async function checkOneAtStartup(endpoint: Endpoint, name: string): Promise<Attempt<StartupCheck>> {
  const redis = new Redis({
    ...connectionOptions(endpoint, name),
    lazyConnect: true,
    retryStrategy: () => null,
    // It would wait for a server that is loading; asking again later is our business.
    enableReadyCheck: false,
  });
  let reason = 'connection closed';
  // The event says why; the rejection of `connect` says only that the connection was closed.
  redis.on('error', (error) => {
    reason = error.message;
  });
  try {
    await redis.connect();
    const info = parseInfo(await redis.info());
    const tooOld = rejectVersion(info.get('redis_version') ?? 'unknown');
    if (tooOld !== undefined) throw new EnvironmentError(`${addressOf(endpoint)}: ${tooOld}`);
    if (info.get('loading') === '1') return { type: 'away', reason: 'it is loading its data' };
    await checkPermissions(redis);
    const isCluster = info.get('cluster_enabled') === '1';
    const slotMap = isCluster
      ? parseClusterSlots(await redis.cluster('SLOTS'), endpoint.host)
      : singleMaster(addressOf(endpoint));
    if (slotMap.masters.length === 0) return { type: 'away', reason: 'its cluster has no slots' };
    return { type: 'answered', value: { endpoint, isCluster, slotMap } };
  } catch (error) {
    if (error instanceof EnvironmentError) throw error;
    const message = (error as Error).message;
    for (const text of [message, reason]) {
      if (FORBIDDEN.test(text)) {
        throw new EnvironmentError(`Redis at ${addressOf(endpoint)} rejects us: ${text}`);
      }
    }
    return { type: 'away', reason: message === 'Connection is closed.' ? reason : message };
  } finally {
    redis.disconnect();
  }
}

async function checkPermissions(redis: Redis): Promise<void> {
  const replies = await redis.pipeline(PERMISSION_CHECKS.map((check) => [...check])).exec();
  for (const [error] of replies ?? []) {
    // Anything else, such as MOVED, is said to someone who is allowed to ask.
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

/** Returns why `version` will not do, or undefined when it will. */
export function rejectVersion(version: string): string | undefined {
  if (Number.parseInt(version, 10) >= MAJOR_VERSION_MIN) return undefined;
  return `Redis ${MAJOR_VERSION_MIN}.0.0 or newer is needed (sharded pub/sub), this is ${version}`;
}
