import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import keySlot from 'cluster-key-slot';
import { isShardCount, shardOf, shardTags } from '../../../common/cluster/shard.js';

const vectors = JSON.parse(
  readFileSync(new URL('./shard-vectors.json', import.meta.url), 'utf8'),
) as {
  clientIds: { clientId: string; shards: Record<string, number> }[];
  tags: Record<string, Record<string, string> | string[]>;
};

describe('shardOf', () => {
  test.each(vectors.clientIds)('agrees with the published vector of %j', ({ clientId, shards }) => {
    for (const [shardCount, shard] of Object.entries(shards)) {
      expect(shardOf(clientId, Number(shardCount))).toBe(shard);
    }
  });
});

describe('shardTags', () => {
  test.each(Object.entries(vectors.tags))('agree with the vectors of %s shards', (count, tags) => {
    const all = shardTags(Number(count));
    for (const [shard, tag] of Object.entries(tags)) expect(all[Number(shard)]).toBe(tag);
  });

  test.each([1, 16, 4096, 16384])('map %d shards to as many equal ranges of slots', (count) => {
    const rangeSlots = 16384 / count;
    const slots = shardTags(count).map((tag) => keySlot(`ll:{${tag}}`));
    for (const [shard, slot] of slots.entries()) expect(Math.floor(slot / rangeSlots)).toBe(shard);
  });
});

test('a shard count is a power of two up to the slots of Redis Cluster', () => {
  for (const good of [1, 2, 4096, 16384]) expect(isShardCount(good)).toBe(true);
  for (const bad of [0, 3, 4095, 32768, 1.5, Number.NaN]) expect(isShardCount(bad)).toBe(false);
});
