/**
 * Redis with Sentinel: one master, and processes beside it that know which server that is. They are
 * asked at the start and then every few seconds; nothing that they push is listened to, so nothing can
 * be missed.
 */
import { Redis } from 'ioredis';
import { addressOf, connectionOptions, type Endpoint, reconnectMs } from './connection.js';
import type { Attempt } from './retry.js';
import { type SlotMap, singleMaster, splitAddress } from './slot-map.js';

/**
 * Asks each Sentinel in turn for the master.
 * @param sentinels with the credentials of the Redis, which a Sentinel may have, too, or none
 */
export async function askMaster(
  sentinels: readonly Endpoint[],
  master: string,
  name: string,
): Promise<Attempt<Endpoint>> {
  const reasons: string[] = [];
  for (const sentinel of sentinels) {
    const answer = await ask(sentinel, master, name);
    if (answer.type === 'answered') {
      return { type: 'answered', value: { ...sentinel, ...splitAddress(answer.value) } };
    }
    reasons.push(`${addressOf(sentinel)}: ${answer.reason}`);
  }
  return { type: 'away', reason: reasons.join('; ') };
}

/** The same as a map of slots. @throws when no Sentinel answers */
export async function askSlotMapOf(
  sentinels: readonly Endpoint[],
  master: string,
  name: string,
): Promise<SlotMap> {
  const answer = await askMaster(sentinels, master, name);
  if (answer.type === 'away') throw new Error(answer.reason);
  return singleMaster(addressOf(answer.value));
}

export type ViaSentinels = ReturnType<typeof viaSentinels>;

/** For ioredis, in the place of an address: whoever is master when it is dialled. */
export function viaSentinels(sentinels: readonly Endpoint[], master: string) {
  const { username, password, isTls } = sentinels[0]!;
  return {
    sentinels: sentinels.map(({ host, port }) => ({ host, port })),
    name: master,
    sentinelRetryStrategy: reconnectMs,
    // No server name: it would be that of the first master for ever.
    ...(isTls && { enableTLSForSentinelMode: true, tls: {}, sentinelTLS: {} }),
    ...(username && { sentinelUsername: username }),
    ...(password && { sentinelPassword: password }),
  };
}

async function ask(sentinel: Endpoint, master: string, name: string): Promise<Attempt<string>> {
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
    if (found === null) return { type: 'away', reason: `it knows no master ${master}` };
    const [host, port] = found as [string, string];
    return { type: 'answered', value: `${host}:${port}` };
  } catch (error) {
    const { message } = error as Error;
    return { type: 'away', reason: message === 'Connection is closed.' ? reason : message };
  } finally {
    redis.disconnect();
  }
}
