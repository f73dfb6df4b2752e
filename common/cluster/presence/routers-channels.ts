/**
 * The channels by which edges recognise routers: on each master one, to which every router is
 * subscribed that uses this master. Control asks the routers on them about the pushes to a client.
 */
import type { RedisLink } from '../../redis/redis-link.js';
import type { ChannelHandler } from '../../redis/shard-subscriber.js';
import { shardTags } from '../shard.js';

/** Where a router's private channels have the name of its process. */
const ROUTERS = 'routers';
const FOLLOW_INTERVAL_MS = 1_000;
/** Shards are spread evenly over masters, so one of this many is enough to find each master. */
const SHARD_STEP = 64;

export class RoutersChannels {
  readonly #tags: readonly string[];

  constructor(
    readonly link: Pick<RedisLink, 'subscriber' | 'names'>,
    shardCount: number,
  ) {
    this.#tags = shardTags(shardCount);
  }

  /** By master. Processes with the same slot map get the same channels. */
  byMaster(): Map<string, string> {
    const { subscriber, names } = this.link;
    const { length } = subscriber.masters();
    const found = new Map<string, string>();
    for (const step of [SHARD_STEP, 1]) {
      for (let i = 0; i < this.#tags.length && found.size < length; i += step) {
        const channel = names.privateChannel(this.#tags[i]!, ROUTERS);
        const master = subscriber.masterOf(channel);
        if (master !== undefined && !found.has(master)) found.set(master, channel);
      }
    }
    return found;
  }

  /** The channel on the master of a shard. Undefined: that master is unknown now. */
  nextTo(shardChannel: string): string | undefined {
    return this.byMaster().get(this.link.subscriber.masterOf(shardChannel) ?? '');
  }

  /** Keeps this router subscribed. Returns a function that ends that. */
  subscribe(onMessage: (message: Buffer) => void): () => void {
    const handler: ChannelHandler = {
      onMessage: (_channel, message) => onMessage(message),
      onConfirmed() {},
      onLost() {},
    };
    let subscribed = new Set<string>();
    const follow = () => {
      const due = new Set(this.byMaster().values());
      for (const channel of subscribed) {
        if (!due.has(channel)) this.link.subscriber.unsubscribe(channel);
      }
      for (const channel of due) this.link.subscriber.subscribe(channel, handler);
      subscribed = due;
    };
    follow();
    const timer = setInterval(follow, FOLLOW_INTERVAL_MS);
    return () => {
      clearInterval(timer);
      for (const channel of subscribed) this.link.subscriber.unsubscribe(channel);
    };
  }
}
