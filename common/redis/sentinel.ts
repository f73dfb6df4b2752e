/**
 * Redis with Sentinel: Sentinels are processes that know which server is the master. They are
 * queried at start and then every few seconds. Their notifications are not used, so none can be
 * missed.
 */
import { Redis } from 'ioredis';
import { addressOf, connectionOptions, type Endpoint } from './connection.js';
import { reachable } from './endpoint/nat-map.js';
import type { Attempt } from './retry.js';
import { type SlotMap, singleMaster, splitAddress } from './slot-map.js';

/** Answer of one Sentinel. */
interface Named {
  /** `host:port` of the master. */
  readonly address: string;
  /** Grows with every failover. */
  readonly configEpoch: number;
}

/**
 * Queries all Sentinels for the address of the master. The answer with the newest configuration
 * counts: a Sentinel that is partitioned together with a former master names that master.
 * @param sentinels with the credentials of the Redis, which the Sentinels share or do not require
 */
export async function findMaster(
  sentinels: readonly Endpoint[],
  master: string,
  name: string,
): Promise<Attempt<Endpoint>> {
  const results = await Promise.all(
    sentinels.map((sentinel) => querySentinel(sentinel, master, name)),
  );
  const named = results.flatMap((result) => (result.type === 'done' ? [result.value] : []));
  if (named.length > 0) {
    const newest = named.reduce((a, b) => (b.configEpoch > a.configEpoch ? b : a));
    const address = reachable(sentinels[0]!.natMap, newest.address);
    return { type: 'done', value: { ...sentinels[0]!, ...splitAddress(address) } };
  }
  const reasons = results.map((result, i) =>
    result.type === 'unavailable' ? `${addressOf(sentinels[i]!)}: ${result.reason}` : '',
  );
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

async function querySentinel(
  sentinel: Endpoint,
  master: string,
  name: string,
): Promise<Attempt<Named>> {
  const redis = new Redis({
    ...connectionOptions(sentinel, name),
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
    const configEpoch = configEpochIn(await redis.call('SENTINEL', 'master', master));
    return { type: 'done', value: { address: `${host}:${port}`, configEpoch } };
  } catch (error) {
    const { message } = error as Error;
    return { type: 'unavailable', reason: message === 'Connection is closed.' ? reason : message };
  } finally {
    redis.disconnect();
  }
}

/** @param state the reply to SENTINEL MASTER: names and values in turn */
function configEpochIn(state: unknown): number {
  const fields = state as readonly string[];
  return Number(fields[fields.indexOf('config-epoch') + 1]);
}
