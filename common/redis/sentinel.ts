/**
 * Redis with Sentinel: Sentinels are processes that know which server is the master. They are
 * queried at start and then every few seconds. Their notifications are not used, so none can be
 * missed.
 */
import { Redis } from 'ioredis';
import { addressOf, connectionOptions, type Endpoint, reconnectMs } from './connection.js';
import type { Attempt } from './retry.js';
import { type SlotMap, singleMaster, splitAddress } from './slot-map.js';

/**
 * Queries one Sentinel after another for the address of the master.
 * @param sentinels with the credentials of the Redis, which the Sentinels share or do not require
 */
export async function findMaster(
  sentinels: readonly Endpoint[],
  master: string,
  name: string,
): Promise<Attempt<Endpoint>> {
  const reasons: string[] = [];
  for (const sentinel of sentinels) {
    const result = await querySentinel(sentinel, master, name);
    if (result.type === 'done') {
      return { type: 'done', value: { ...sentinel, ...splitAddress(result.value) } };
    }
    reasons.push(`${addressOf(sentinel)}: ${result.reason}`);
  }
  return { type: 'unavailable', reason: reasons.join('; ') };
}

/** The same as a slot map. @throws when no Sentinel names the master */
export async function fetchSlotMapFromSentinels(
  sentinels: readonly Endpoint[],
  master: string,
  name: string,
): Promise<SlotMap> {
  const result = await findMaster(sentinels, master, name);
  if (result.type === 'unavailable') throw new Error(result.reason);
  return singleMaster(addressOf(result.value));
}

export type SentinelOptions = ReturnType<typeof sentinelOptions>;

/** Options for ioredis in place of an address: it dials the master of the moment. */
export function sentinelOptions(sentinels: readonly Endpoint[], master: string) {
  const { username, password, isTls } = sentinels[0]!;
  return {
    sentinels: sentinels.map(({ host, port }) => ({ host, port })),
    name: master,
    sentinelRetryStrategy: reconnectMs,
    // Without a server name: ioredis would use that of the first master for all later ones.
    ...(isTls && { enableTLSForSentinelMode: true, tls: {}, sentinelTLS: {} }),
    ...(username && { sentinelUsername: username }),
    ...(password && { sentinelPassword: password }),
  };
}

async function querySentinel(
  sentinel: Endpoint,
  master: string,
  name: string,
): Promise<Attempt<string>> {
  const redis = new Redis({
    ...connectionOptions({ ...sentinel, db: 0 }, name),
    lazyConnect: true,
    retryStrategy: () => null,
    enableReadyCheck: false,
  });
  let reason = 'connection closed';
  redis.on('error', (error) => {
    reason = error.message;
  });
  try {
    await redis.connect();
    const found = await redis.call('SENTINEL', 'get-master-addr-by-name', master);
    if (found === null) {
      return { type: 'unavailable', reason: `it monitors no master named ${master}` };
    }
    const [host, port] = found as [string, string];
    return { type: 'done', value: `${host}:${port}` };
  } catch (error) {
    const { message } = error as Error;
    return { type: 'unavailable', reason: message === 'Connection is closed.' ? reason : message };
  } finally {
    redis.disconnect();
  }
}
