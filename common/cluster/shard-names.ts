/** Redis tag and channel of every shard, computed once. */
import type { RedisNames } from '../redis/redis-names.js';
import { shardOf, shardTags } from './shard.js';

export class ShardNames {
  readonly #tags: readonly string[];
  readonly #channels: readonly string[];
  readonly #shardOfChannel: ReadonlyMap<string, number>;

  constructor(
    redisNames: RedisNames,
    readonly shardCount: number,
  ) {
    this.#tags = shardTags(shardCount);
    this.#channels = this.#tags.map((tag) => redisNames.shardChannel(tag));
    this.#shardOfChannel = new Map(this.#channels.map((channel, shard) => [channel, shard]));
  }

  tagOf(shard: number): string {
    return this.#tags[shard]!;
  }

  /** The shard's channel, with which its keys start. */
  channelOf(shard: number): string {
    return this.#channels[shard]!;
  }

  channelOfClient(clientId: string): string {
    return this.#channels[shardOf(clientId, this.shardCount)]!;
  }

  /** @param channel one that `channelOf` has returned */
  shardOf(channel: string): number {
    return this.#shardOfChannel.get(channel)!;
  }
}
