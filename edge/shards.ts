/**
 * Which shards this edge listens to. It is subscribed to a shard exactly while it owns it or holds
 * a client of it; whether Redis has confirmed that is the subscriber's business and asked there.
 */
import type { Assignment } from '../common/assignment.js';
import { ownerOf } from '../common/assignment.js';
import type { ChannelHandler, ShardSubscriber } from '../common/redis/shard-subscriber.js';
import { shardChannel, shardTags } from '../common/shard.js';
import type { Connections } from './connections.js';

/** What happens on the channel of a shard. */
export interface ShardHandler {
  onMessage(shard: number, payload: Buffer): void;
  onConfirmed(shard: number): void;
  onLost(shard: number): void;
  /** Nothing is listened to any more, and nothing of the past matters. */
  onLeft(shard: number): void;
}

export class Shards {
  readonly shardCount: number;
  readonly #tags: readonly string[];
  readonly #channels: readonly string[];
  readonly #shardOfChannel = new Map<string, number>();
  readonly #owned: Uint8Array;
  readonly #channelHandler: ChannelHandler;
  #ownedCount = 0;

  constructor(
    readonly edgeId: string,
    readonly connections: Connections,
    readonly subscriber: ShardSubscriber,
    readonly handler: ShardHandler,
  ) {
    this.shardCount = connections.shardCount;
    this.#tags = shardTags(this.shardCount);
    this.#channels = this.#tags.map(shardChannel);
    for (const [shard, channel] of this.#channels.entries())
      this.#shardOfChannel.set(channel, shard);
    this.#owned = new Uint8Array(this.shardCount);
    const shardOf = (channel: string) => this.#shardOfChannel.get(channel)!;
    this.#channelHandler = {
      onMessage: (channel, payload) => handler.onMessage(shardOf(channel), payload),
      onConfirmed: (channel) => handler.onConfirmed(shardOf(channel)),
      onLost: (channel) => handler.onLost(shardOf(channel)),
    };
  }

  get ownedCount(): number {
    return this.#ownedCount;
  }

  owns(shard: number): boolean {
    return this.#owned[shard] === 1;
  }

  isConfirmed(shard: number): boolean {
    return this.subscriber.isConfirmed(this.#channels[shard]!);
  }

  tagOf(shard: number): string {
    return this.#tags[shard]!;
  }

  channelOf(shard: number): string {
    return this.#channels[shard]!;
  }

  /** Takes over a new assignment. */
  assign(assignment: Assignment): void {
    this.#ownedCount = 0;
    for (let shard = 0; shard < this.shardCount; shard++) {
      const owned = ownerOf(assignment, shard)?.id === this.edgeId;
      this.#owned[shard] = owned ? 1 : 0;
      if (owned) this.#ownedCount++;
      this.reconcile(shard);
    }
  }

  confirmedCount(): number {
    let count = 0;
    for (let shard = 0; shard < this.shardCount; shard++) if (this.isConfirmed(shard)) count++;
    return count;
  }

  /** How many owned shards Redis has not confirmed. */
  unconfirmedOwnedCount(): number {
    let count = 0;
    for (let shard = 0; shard < this.shardCount; shard++) {
      if (this.owns(shard) && !this.isConfirmed(shard)) count++;
    }
    return count;
  }

  guestCount(): number {
    let count = 0;
    for (let shard = 0; shard < this.shardCount; shard++) {
      if (!this.owns(shard)) count += this.connections.countOf(shard);
    }
    return count;
  }

  /** To be called whenever the first client of a shard has come or the last one has gone. */
  reconcile(shard: number): void {
    const channel = this.#channels[shard]!;
    if (this.owns(shard) || this.connections.countOf(shard) > 0) {
      this.subscriber.want(channel, this.#channelHandler);
    } else {
      this.subscriber.unwant(channel);
      this.handler.onLeft(shard);
    }
  }
}
