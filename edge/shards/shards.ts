/**
 * The shards that this edge is subscribed to: exactly those that it owns, acquires, hands over, or
 * has a client of. Whether Redis has confirmed a subscription is state of the subscriber.
 */
import { type Assignment, ownerOf, type Phase } from '../../common/cluster/assignment.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import type { ChannelHandler, ShardSubscriber } from '../../common/redis/shard-subscriber.js';
import { Acquiring } from './acquiring.js';
import { HandingOver } from './handing-over.js';

/** Receives the events of shard channels. */
export interface ShardHandler {
  onMessage(shard: number, payload: Buffer): void;
  onConfirmed(shard: number): void;
  onLost(shard: number): void;
  /** A message must arrive over the channel to prove that it delivers. */
  onUnproven(shard: number): void;
  /** The subscription is no longer needed; state of the shard can be dropped. */
  onLeft(shard: number): void;
}

/** Number of clients per shard that are connected here. */
export interface ClientCounts {
  countOf(shard: number): number;
}

export interface ShardsOptions {
  readonly edgeId: string;
  readonly names: ShardNames;
  readonly clientCounts: ClientCounts;
  readonly subscriber: Pick<
    ShardSubscriber,
    'subscribe' | 'unsubscribe' | 'isConfirmed' | 'areConfirmedTogether'
  >;
  /** Bound on subscribed shards of other edges, above which no new guest is accepted. */
  readonly guestShardsMax: number;
  /**
   * Returns the handler of channel events. It is created after the shards, because it delivers to
   * the clients, which subscribe to shards here.
   */
  readonly handler: () => ShardHandler;
}

export class Shards {
  readonly #owned: Uint8Array;
  readonly #channelHandler: ChannelHandler;
  readonly #acquiring = new Acquiring();
  readonly #handingOver = new HandingOver();
  #ownedCount = 0;
  /** 1: the edge is subscribed, or subscribing, to the channel. */
  readonly #subscribed: Uint8Array;
  #subscribedCount = 0;

  constructor(readonly options: ShardsOptions) {
    const { names, handler } = options;
    this.#owned = new Uint8Array(names.shardCount);
    this.#subscribed = new Uint8Array(names.shardCount);
    this.#channelHandler = {
      onMessage: (channel, payload) => {
        const shard = names.shardOf(channel);
        if (this.#acquiring.has(shard) && this.isConfirmed(shard)) this.#acquiring.onMessage(shard);
        handler().onMessage(shard, payload);
      },
      onConfirmed: (channel) => handler().onConfirmed(names.shardOf(channel)),
      onLost: (channel) => {
        const shard = names.shardOf(channel);
        this.#acquiring.onLost(shard);
        handler().onLost(shard);
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
    const { names, subscriber } = this.options;
    return subscriber.isConfirmed(names.channelOf(shard));
  }

  /** Whether a message on the channel of `carrier` can stand for one on that of an owned shard. */
  ownsBeside(shard: number, carrier: number): boolean {
    const { names, subscriber } = this.options;
    return (
      this.owns(shard) &&
      subscriber.areConfirmedTogether(names.channelOf(shard), names.channelOf(carrier))
    );
  }

  hasClients(shard: number): boolean {
    return this.options.clientCounts.countOf(shard) > 0;
  }

  /**
   * Whether the owner of the shard, if it is another edge, must hear this one about each client.
   */
  mayHaveClients(shard: number): boolean {
    return this.hasClients(shard) || this.#handingOver.needsSubscription(shard);
  }

  /** Applies a new assignment. Returns the shards that this edge owned and has lost. */
  assign(assignment: Assignment): number[] {
    const { edgeId, names } = this.options;
    const moving = (phase: Phase, end: 'from' | 'to') =>
      assignment.moves
        .filter((move) => move.phase === phase && move[end] === edgeId)
        .map(({ shard }) => shard);
    this.#acquiring.assign(moving('acquiring', 'to'));
    this.#handingOver.assign(moving('handing-over', 'from'));
    const lost: number[] = [];
    this.#ownedCount = 0;
    for (let shard = 0; shard < names.shardCount; shard++) {
      const owned = ownerOf(assignment, shard)?.id === edgeId;
      if (this.owns(shard) && !owned) lost.push(shard);
      this.#owned[shard] = owned ? 1 : 0;
      if (owned) this.#ownedCount++;
      this.reconcile(shard);
    }
    return lost;
  }

  /**
   * Advances the moves. To be called several times a second.
   * @param hasRemaining whether clients of a lost shard are here that have received no goaway yet
   */
  step(nowMs: number, hasRemaining: (shard: number) => boolean): void {
    const unproven = this.#acquiring.takeProbes(nowMs, (shard) => this.isConfirmed(shard));
    for (const shard of unproven) this.options.handler().onUnproven(shard);
    for (const shard of this.#handingOver.step(nowMs, hasRemaining)) this.reconcile(shard);
  }

  /** Shards that are moving here and whose channel is proven to deliver. */
  acquired(): number[] {
    return this.#acquiring.acquired();
  }

  /** Shards that are moving away and need nothing more from this edge. */
  released(): number[] {
    return this.#handingOver.released();
  }

  get handingOverCount(): number {
    return this.#handingOver.count;
  }

  confirmedCount(): number {
    return this.#count((shard) => this.isConfirmed(shard));
  }

  /** Number of owned shards whose subscription Redis has not confirmed. */
  unconfirmedOwnedCount(): number {
    return this.#count((shard) => this.owns(shard) && !this.isConfirmed(shard));
  }

  /** Subscribed shards of other edges: for guests, or because they are moving. */
  get foreignCount(): number {
    return this.#subscribedCount - this.#ownedCount;
  }

  /** Whether a client of another edge's shard may connect: each such shard is one more channel. */
  acceptsGuest(shard: number): boolean {
    return this.#subscribed[shard] === 1 || this.foreignCount < this.options.guestShardsMax;
  }

  guestCount(): number {
    const { names, clientCounts } = this.options;
    let count = 0;
    for (let shard = 0; shard < names.shardCount; shard++) {
      if (!this.owns(shard)) count += clientCounts.countOf(shard);
    }
    return count;
  }

  /**
   * Subscribes or unsubscribes. To be called when a shard gets its first or loses its last client.
   */
  reconcile(shard: number): void {
    const { names, subscriber, handler } = this.options;
    const channel = names.channelOf(shard);
    const isNeeded = this.owns(shard) || this.#acquiring.has(shard) || this.mayHaveClients(shard);
    const wasNeeded = this.#subscribed[shard] === 1;
    this.#subscribedCount += (isNeeded ? 1 : 0) - (wasNeeded ? 1 : 0);
    this.#subscribed[shard] = isNeeded ? 1 : 0;
    if (isNeeded) {
      subscriber.subscribe(channel, this.#channelHandler);
    } else if (wasNeeded) {
      subscriber.unsubscribe(channel);
      handler().onLeft(shard);
    }
  }

  #count(matches: (shard: number) => boolean): number {
    let count = 0;
    for (let shard = 0; shard < this.options.names.shardCount; shard++) {
      if (matches(shard)) count++;
    }
    return count;
  }
}
