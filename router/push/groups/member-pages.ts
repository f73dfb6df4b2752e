/**
 * Reads the members of a group in the order of their shards, page by page. A page has a bounded
 * number of members and is read by few scripts: on a standalone Redis by one for several shards, in
 * a Redis Cluster by one for each shard, at once.
 */
import { readIndex } from '../../../common/cluster/groups/group-index.js';
import { MEMBERS_PER_CALL, readMembers } from '../../../common/cluster/groups/members.js';
import type { CountersLink } from '../../../common/cluster/history/shard-counters.js';
import { shardOfGroup } from '../../../common/cluster/shard.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { runsOf, SHARDS_PER_SCRIPT } from '../many/packed.js';
import type { MembersPosition } from './members-position.js';

/** Maximum scripts for one page, in a Redis Cluster. */
const CALLS_PER_PAGE = 16;

/** Members of one shard. */
export interface MembersOfShard {
  readonly shard: number;
  readonly members: readonly string[];
}

/** Where groups are stored. */
export interface GroupStore {
  readonly link: CountersLink & Pick<RedisLink, 'publish'>;
  readonly channelOf: (shard: number) => string;
  /** The shard of a clientId or a user. */
  readonly shardOf: (member: string) => number;
  readonly shardCount: number;
}

/** The channel of the group's own shard. */
export function homeOf({ channelOf, shardCount }: GroupStore, group: string): string {
  return channelOf(shardOfGroup(group, shardCount));
}

/** Members of shards that were read. */
export interface ReadShards {
  readonly parts: readonly (MembersOfShard & { readonly version: string })[];
  /**
   * Where to go on, if not all of the shards were read to their end; the last part may go on there.
   */
  readonly stopped: MembersPosition | undefined;
}

export class MemberPages {
  /** Index in `shards` of the first one that is left. */
  #next = 0;
  #position: MembersPosition;

  private constructor(
    readonly store: GroupStore,
    readonly group: string,
    /** In ascending order. */
    readonly shards: readonly number[],
    from: MembersPosition,
  ) {
    this.#position = from;
    this.moveTo(from);
  }

  static async open(
    store: GroupStore,
    group: string,
    from: MembersPosition,
  ): Promise<MemberPages | Rejection> {
    const read = await readIndex(store.link, homeOf(store, group), group);
    if (read.type !== 'done') return rejection('REDIS_UNAVAILABLE', read.reason);
    return new MemberPages(store, group, read.reply.shards, from);
  }

  /** Where the next page starts; undefined: there is none. */
  get position(): MembersPosition | undefined {
    const shard = this.shards[this.#next];
    if (shard === undefined) return undefined;
    return shard === this.#position.shard ? this.#position : { shard, after: '' };
  }

  moveTo(position: MembersPosition): void {
    this.#position = position;
    while (this.shards[this.#next]! < position.shard) this.#next++;
  }

  /** Up to `countMax` shards that are left. */
  next(countMax: number): readonly number[] {
    return this.shards.slice(this.#next, this.#next + countMax);
  }

  /** Shards of which one page can read the members. */
  get shardsPerPage(): number {
    return this.store.link.isCluster ? CALLS_PER_PAGE : SHARDS_PER_SCRIPT;
  }

  /**
   * Reads up to about `membersMax` members. On failure, the position stays. Not to be called
   * without a position.
   */
  async read(membersMax: number): Promise<readonly MembersOfShard[] | Rejection> {
    const shards = this.next(Math.min(this.shardsPerPage, membersMax));
    const read = await this.readShards(shards, membersMax);
    if ('code' in read) return read;
    this.moveTo(read.stopped ?? { shard: shards.at(-1)! + 1, after: '' });
    return read.parts;
  }

  /**
   * Reads some of the shards that are left, in ascending order; not more than `shardsPerPage`.
   * Moves nowhere.
   */
  async readShards(shards: readonly number[], membersMax: number): Promise<ReadShards | Rejection> {
    const { shard: first, after } = this.position!;
    const runs = runsOf(this.store.link, shards, () => 1, MEMBERS_PER_CALL);
    const countMax = Math.min(membersMax, MEMBERS_PER_CALL);
    const reads = await Promise.all(
      runs.map((run) => this.#readRun(run, run[0] === first ? after : '', countMax)),
    );
    const parts: ReadShards['parts'][number][] = [];
    // Up to the first shard of which more has to be read, so that the position is one.
    for (const [i, read] of reads.entries()) {
      if ('code' in read) {
        if (i === 0) return read;
        return { parts, stopped: { shard: runs[i]![0]!, after: '' } };
      }
      parts.push(...read.parts);
      const { shard } = parts.at(-1)!;
      if (read.after !== '') return { parts, stopped: { shard, after: read.after } };
    }
    return { parts, stopped: undefined };
  }

  async #readRun(
    run: readonly number[],
    after: string,
    countMax: number,
  ): Promise<{ readonly parts: ReadShards['parts']; readonly after: string } | Rejection> {
    const { link, channelOf } = this.store;
    const read = await readMembers(link, this.group, run.map(channelOf), after, countMax);
    if (read.type !== 'done') return rejection('REDIS_UNAVAILABLE', read.reason);
    const { shards, after: next } = read.reply;
    return { parts: shards.map((part, i) => ({ shard: run[i]!, ...part })), after: next };
  }
}
