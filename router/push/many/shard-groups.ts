/**
 * Finds the shards that one message can reach. A message on the channel of one shard can stand for
 * the others of its group, those with the same owner on the same master, where that owner is their
 * only subscriber: no guest of theirs is on another edge, and none of them is moving. The
 * assignment says who the owner should be; that it is, only its reply proves.
 */
import { type Assignment, ownerOf } from '../../../common/cluster/assignment.js';
import type { SubscriberCounts } from '../../../common/cluster/presence/subscriber-counts.js';
import { ShardNames } from '../../../common/cluster/shard-names.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';

/** Maximum messages of one call that await answers, while edges answer. */
export const MESSAGES_AT_ONCE = 8;
/** Maximum clients: an edge writes to this many in about two milliseconds of its event loop. */
export const CLIENTS_PER_MESSAGE = 250;

export interface ShardGroupsOptions {
  readonly link: Pick<RedisLink, 'subscriber' | 'names'>;
  readonly shardCount: number;
  readonly assignment: () => Assignment | undefined;
  readonly counts: Pick<SubscriberCounts, 'read'>;
}

export class ShardGroups {
  readonly #names: ShardNames;

  constructor(readonly options: ShardGroupsOptions) {
    this.#names = new ShardNames(options.link.names, options.shardCount);
  }

  /** Groups shards, which keep their order. One without an owner or a master is alone. */
  group(shards: Iterable<number>): number[][] {
    const { link, assignment } = this.options;
    const current = assignment();
    const groups = new Map<string, number[]>();
    for (const shard of shards) {
      const owner = current && ownerOf(current, shard);
      const master = link.subscriber.masterOf(this.#names.channelOf(shard));
      const isKnown = owner !== undefined && master !== undefined;
      const key = isKnown ? `${master} ${owner.id}` : `${shard}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [shard]);
      else group.push(shard);
    }
    return [...groups.values()];
  }

  /** Returns the shards of one group that have one subscriber now; none if Redis does not say. */
  async withOneSubscriber(shards: readonly number[]): Promise<Set<number>> {
    const { link, counts } = this.options;
    const channels = shards.map((shard) => this.#names.channelOf(shard));
    const master = link.subscriber.masterOf(channels[0]!);
    const read = master === undefined ? undefined : await counts.read(master, channels);
    return new Set(shards.filter((_, i) => read?.[i] === 1));
  }
}
