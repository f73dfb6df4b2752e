/**
 * Which shards this edge listens to. It is subscribed to a shard exactly while it owns it, is
 * acquiring it, hands it over, or holds a client of it; whether Redis has confirmed that is the
 * subscriber's business and asked there.
 */
import { type Assignment, ownerOf, type Phase } from '../../common/cluster/assignment.js';
import { shardChannel, shardTags } from '../../common/cluster/shard.js';
import type { ChannelHandler, ShardSubscriber } from '../../common/redis/shard-subscriber.js';
import type { Connections } from '../session/connections.js';
import { Acquiring } from './acquiring.js';
import { HandingOver } from './handing-over.js';

/** What happens on the channel of a shard. */
export interface ShardHandler {
  onMessage(shard: number, payload: Buffer): void;
  onConfirmed(shard: number): void;
  onLost(shard: number): void;
  /** Something must come over the channel, to prove that it delivers. */
  onUnproven(shard: number): void;
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
  readonly #acquiring = new Acquiring();
  readonly #handingOver = new HandingOver();
  #ownedCount = 0;
  /** 1: the channel is wanted. */
  readonly #listening: Uint8Array;
  #listeningCount = 0;

  constructor(
    readonly edgeId: string,
    readonly connections: Connections,
    readonly subscriber: ShardSubscriber,
    readonly handler: ShardHandler,
    /** Shards of others that are listened to for guests. */
    readonly guestShardsMax: number,
  ) {
    this.shardCount = connections.shardCount;
    this.#tags = shardTags(this.shardCount);
    this.#channels = this.#tags.map(shardChannel);
    for (const [shard, channel] of this.#channels.entries())
      this.#shardOfChannel.set(channel, shard);
    this.#owned = new Uint8Array(this.shardCount);
    this.#listening = new Uint8Array(this.shardCount);
    const shardOf = (channel: string) => this.#shardOfChannel.get(channel)!;
    this.#channelHandler = {
      onMessage: (channel, payload) => {
        const shard = shardOf(channel);
        if (this.#acquiring.has(shard) && this.isConfirmed(shard)) this.#acquiring.heard(shard);
        handler.onMessage(shard, payload);
      },
      onConfirmed: (channel) => handler.onConfirmed(shardOf(channel)),
      onLost: (channel) => {
        const shard = shardOf(channel);
        this.#acquiring.lost(shard);
        handler.onLost(shard);
      },
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

  /** Takes over a new assignment. Returns the shards that this edge has lost by it. */
  assign(assignment: Assignment): number[] {
    const moving = (phase: Phase, end: 'from' | 'to') =>
      assignment.moves
        .filter((move) => move.phase === phase && move[end] === this.edgeId)
        .map(({ shard }) => shard);
    this.#acquiring.assign(moving('acquiring', 'to'));
    this.#handingOver.assign(moving('handing-over', 'from'));
    const lost: number[] = [];
    this.#ownedCount = 0;
    for (let shard = 0; shard < this.shardCount; shard++) {
      const owned = ownerOf(assignment, shard)?.id === this.edgeId;
      if (this.owns(shard) && !owned) lost.push(shard);
      this.#owned[shard] = owned ? 1 : 0;
      if (owned) this.#ownedCount++;
      this.reconcile(shard);
    }
    return lost;
  }

  /**
   * Goes on with the moves. To be called several times a second.
   * @param isAwaited whether clients of a lost shard are here that have not been told to go
   */
  step(nowMs: number, isAwaited: (shard: number) => boolean): void {
    const unproven = this.#acquiring.toProbe(nowMs, (shard) => this.isConfirmed(shard));
    for (const shard of unproven) this.handler.onUnproven(shard);
    for (const shard of this.#handingOver.step(nowMs, isAwaited)) this.reconcile(shard);
  }

  /** Shards that are moving here and whose channel has proven to deliver. */
  acquired(): number[] {
    return this.#acquiring.acquired();
  }

  /** Shards that are moving away and need nothing more of this edge. */
  released(): number[] {
    return this.#handingOver.released();
  }

  get handingOverCount(): number {
    return this.#handingOver.count;
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

  /** Shards of others that this edge listens to: for guests, or because they are moving. */
  get foreignCount(): number {
    return this.#listeningCount - this.#ownedCount;
  }

  /** Whether a client of a shard of another edge may come: each such shard is one more to hear. */
  takesGuest(shard: number): boolean {
    return this.#listening[shard] === 1 || this.foreignCount < this.guestShardsMax;
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
    const isWanted =
      this.owns(shard) ||
      this.connections.countOf(shard) > 0 ||
      this.#acquiring.has(shard) ||
      this.#handingOver.keeps(shard);
    this.#listeningCount += (isWanted ? 1 : 0) - this.#listening[shard]!;
    this.#listening[shard] = isWanted ? 1 : 0;
    if (isWanted) {
      this.subscriber.want(channel, this.#channelHandler);
    } else {
      this.subscriber.unwant(channel);
      this.handler.onLeft(shard);
    }
  }
}
