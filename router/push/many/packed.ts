/** Divides what is to be done for shards among messages and scripts. Pure. */
import type { RedisLink } from '../../../common/redis/redis-link.js';

/** Clients of one shard. */
export interface ClientsOfShard {
  readonly shard: number;
  readonly clientIds: readonly string[];
}

/** Packs items that follow one another: up to `weightMax` and `lengthMax` of them, or one item. */
export function packed<Item>(
  items: readonly Item[],
  weightOf: (item: Item) => number,
  weightMax: number,
  lengthMax = Number.POSITIVE_INFINITY,
): Item[][] {
  const packs: Item[][] = [];
  let weight = Number.POSITIVE_INFINITY;
  for (const item of items) {
    const pack = packs.at(-1);
    weight += weightOf(item);
    if (pack !== undefined && pack.length < lengthMax && weight <= weightMax) pack.push(item);
    else {
      packs.push([item]);
      weight = weightOf(item);
    }
  }
  return packs;
}

/** Maximum shards of one script. */
export const SHARDS_PER_SCRIPT = 128;

/**
 * Divides what is to be done for shards among scripts: in a Redis Cluster, one has one shard.
 * @param weightOf members or clients of an item; a script has `weightMax` of them, or one item
 */
export function runsOf<Item>(
  { isCluster }: Pick<RedisLink, 'isCluster'>,
  items: readonly Item[],
  weightOf: (item: Item) => number,
  weightMax: number,
): Item[][] {
  return packed(items, weightOf, weightMax, isCluster ? 1 : SHARDS_PER_SCRIPT);
}

/** Cuts a shard with more than `max` clients. */
export function slicesOf({ shard, clientIds }: ClientsOfShard, max: number): ClientsOfShard[] {
  return Array.from({ length: Math.ceil(clientIds.length / max) }, (_, i) => ({
    shard,
    clientIds: clientIds.slice(i * max, (i + 1) * max),
  }));
}

/** Divides clients into packs of `max`, and the rest. */
export function filled(parts: readonly ClientsOfShard[], max: number): ClientsOfShard[][] {
  const packs: ClientsOfShard[][] = [];
  let room = 0;
  for (const { shard, clientIds } of parts) {
    for (let from = 0; from < clientIds.length; ) {
      if (room === 0) {
        packs.push([]);
        room = max;
      }
      const taken = clientIds.slice(from, from + room);
      packs.at(-1)!.push({ shard, clientIds: taken });
      from += taken.length;
      room -= taken.length;
    }
  }
  return packs;
}

export function countOf({ clientIds }: ClientsOfShard): number {
  return clientIds.length;
}
