/** Redis tag and channel of every shard, computed once. */
import { shardChannel, shardTags } from '../../common/cluster/shard.js';

export class ShardNames {
  readonly #tags: readonly string[];
  readonly #channels: readonly string[];
  readonly #shardOfChannel: ReadonlyMap<string, number>;

  constructor(readonly shardCount: number) {
    this.#tags = shardTags(shardCount);
    this.#channels = this.#tags.map(shardChannel);
    this.#shardOfChannel = new Map(this.#channels.map((channel, shard) => [channel, shard]));
  }

  tagOf(shard: number): string {
    return this.#tags[shard]!;
  }

  channelOf(shard: number): string {
    return this.#channels[shard]!;
  }

  /** @param channel one that `channelOf` has returned */
  shardOf(channel: string): number {
    return this.#shardOfChannel.get(channel)!;
  }
}
