/**
 * clientId -> user -> shard -> Redis tag. Every implementation, in any language, must map them
 * alike; `test/common/cluster/shard-vectors.json` has the published test vectors.
 */
import assert from 'node:assert';
import { crc32 } from 'node:zlib';
import keySlot from 'cluster-key-slot';
import { userOf } from '../wire/client-id.js';

/** Number of slots of Redis Cluster, fixed: https://redis.io/docs/reference/cluster-spec */
const REDIS_SLOTS = 16384;

/**
 * The shard of a client: CRC-32/ISO-HDLC of the UTF-8 bytes of its user, which is the clientId up
 * to its first slash, modulo `shardCount`. So all devices of a user have one shard. `shardCount` is
 * a power of two, so the mask is the remainder.
 */
export function shardOf(clientId: string, shardCount: number): number {
  return crc32(userOf(clientId)) & (shardCount - 1);
}

/** The shard that has the index of a group: CRC-32 of the whole name, modulo `shardCount`. */
export function shardOfGroup(group: string, shardCount: number): number {
  return crc32(group) & (shardCount - 1);
}

export function isShardCount(count: number): boolean {
  return (
    Number.isInteger(count) && count >= 1 && count <= REDIS_SLOTS && (count & (count - 1)) === 0
  );
}

/**
 * The tag of each shard: the smallest integer whose Redis slot is in the shard's own range of
 * slots. Every range of 16384 / shardCount slots gets exactly one tag, so the masters of a Redis
 * Cluster get equal numbers of shards; `{0}`, `{1}`, … would skew them by a factor of two.
 */
export function shardTags(shardCount: number): readonly string[] {
  assert(isShardCount(shardCount), `shardCount ${shardCount} is not a power of two up to 16384`);
  const slotsPerShard = REDIS_SLOTS / shardCount;
  const tags = new Array<string>(shardCount);
  let missing = shardCount;
  for (let t = 0; missing > 0; t++) {
    const shard = Math.floor(keySlot(String(t)) / slotsPerShard);
    if (tags[shard] === undefined) {
      tags[shard] = String(t);
      missing--;
    }
  }
  return tags;
}
