/** Redis tag and channel of every shard, computed once and shared by all that need them. */
import type { RedisNames } from '../redis/redis-names.js';
import { shardOf, shardTags } from './shard.js';

interface Names {
  readonly tags: readonly string[];
  readonly channels: readonly string[];
  readonly shardOfChannel: ReadonlyMap<string, number>;
}

/** By the number of shards. */
const known = new WeakMap<RedisNames, Map<number, Names>>();

export class ShardNames {
  readonly #names: Names;

  constructor(
    redisNames: RedisNames,
    readonly shardCount: number,
  ) {
    this.#names = namesOf(redisNames, shardCount);
  }

  tagOf(shard: number): string {
    return this.#names.tags[shard]!;
  }

  /** The shard's channel, with which its keys start. */
  channelOf(shard: number): string {
    return this.#names.channels[shard]!;
  }

  channelOfClient(clientId: string): string {
    return this.#names.channels[shardOf(clientId, this.shardCount)]!;
  }

  /** @param channel one that `channelOf` has returned */
  shardOf(channel: string): number {
    return this.#names.shardOfChannel.get(channel)!;
  }
}

function namesOf(redisNames: RedisNames, shardCount: number): Names {
  const byCount = known.get(redisNames) ?? new Map<number, Names>();
  known.set(redisNames, byCount);
  const names = byCount.get(shardCount) ?? computeNames(redisNames, shardCount);
  byCount.set(shardCount, names);
  return names;
}

function computeNames(redisNames: RedisNames, shardCount: number): Names {
  const tags = shardTags(shardCount);
  const channels = tags.map((tag) => redisNames.shardChannel(tag));
  const shardOfChannel = new Map(channels.map((channel, shard) => [channel, shard]));
  return { tags, channels, shardOfChannel };
}
