/**
 * The clients of a group in the order of their shards, page by page: its members, with the devices
 * of users in their place. What the router knows from an earlier push is used again if the version
 * of the shard is still the same; the rest is read. So a client that has joined before the push
 * began is always among them.
 */
import {
  MEMBERS_PER_CALL,
  NO_VERSION,
  readMemberDevices,
  versionKey,
} from '../../../common/cluster/groups/members.js';
import { readShardValues } from '../../../common/cluster/history/shard-counters.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import { type ClientsOfShard, runsOf } from '../many/packed.js';
import { expandMembers, usersOf } from './expand-members.js';
import type { KnownMembers, KnownShard } from './known-members.js';
import type { GroupStore, MemberPages, ReadShards } from './member-pages.js';
import type { MembersPosition } from './members-position.js';

/** Maximum shards whose versions are read at once. */
const KNOWN_PER_PAGE = 1_024;

/** One page. */
export interface GroupPage {
  readonly parts: readonly ClientsOfShard[];
  /** Users with more devices than are allowed. */
  readonly tooMany: readonly string[];
  /** Members that were read. */
  readonly members: number;
}

type Read = ReadShards['parts'][number];

export class GroupClients {
  constructor(
    readonly store: GroupStore,
    readonly known: KnownMembers,
    readonly pages: MemberPages,
    readonly devicesMax: number,
  ) {}

  /** Where the next page starts; undefined: there is none. */
  get position(): MembersPosition | undefined {
    return this.pages.position;
  }

  /** Reads up to about `membersMax` members. On failure, the position stays; there must be one. */
  async read(membersMax: number): Promise<GroupPage | Rejection> {
    let shards = this.#next(membersMax);
    const found = await this.#findKnown(shards);
    const missing = shards.filter((shard) => !found.has(shard));
    const excess = missing.splice(this.pages.shardsPerPage)[0];
    if (excess !== undefined) shards = shards.filter((shard) => shard < excess);
    let stopped: MembersPosition | undefined;
    if (missing.length > 0) {
      const read = await this.#readMissing(missing, membersMax);
      if ('code' in read) return read;
      ({ stopped } = read);
      for (const [shard, each] of read.found) found.set(shard, each);
    }
    const all = stopped === undefined ? shards : shards.filter((shard) => shard <= stopped.shard);
    this.pages.moveTo(stopped ?? { shard: shards.at(-1)! + 1, after: '' });
    // The shard at which reading has stopped may have no members yet.
    const parts = all.flatMap((shard) => {
      const each = found.get(shard);
      return each === undefined ? [] : [{ shard, ...each }];
    });
    return {
      parts: parts.filter(({ clientIds }) => clientIds.length > 0),
      tooMany: parts.flatMap((part) => part.tooMany),
      members: parts.reduce((sum, part) => sum + part.members, 0),
    };
  }

  /**
   * The next shards, whose members are `membersMax` or a few more, if there is at least one in
   * each.
   */
  #next(membersMax: number): readonly number[] {
    const known = this.known.of(this.pages.group);
    const shards = this.pages.next(Math.min(KNOWN_PER_PAGE, membersMax));
    let members = 0;
    let count = 0;
    while (count < shards.length && members < membersMax) {
      members += known.get(shards[count++]!)?.members ?? 1;
    }
    return shards.slice(0, count);
  }

  /** The shards whose version is the one that was read. */
  async #findKnown(shards: readonly number[]): Promise<Map<number, KnownShard>> {
    const { group, position } = this.pages;
    const known = this.known.of(group);
    const nowMs = performance.now();
    const usable = shards.filter((shard) => {
      const isFromStart = shard !== position!.shard || position!.after === '';
      return isFromStart && (known.get(shard)?.validUntilMs ?? 0) > nowMs;
    });
    const found = new Map<number, KnownShard>();
    if (usable.length === 0) return found;
    const { link, channelOf } = this.store;
    const versions = await readShardValues(link, usable.map(channelOf), versionKey);
    for (const [i, shard] of usable.entries()) {
      const each = known.get(shard);
      if (each?.version === versions[i]) found.set(shard, each!);
    }
    return found;
  }

  async #readMissing(shards: readonly number[], membersMax: number) {
    const { pages, known } = this;
    const { shard: first, after } = pages.position!;
    const sentMs = performance.now();
    const read = await pages.readShards(shards, membersMax);
    if ('code' in read) return read;
    const { parts, stopped } = read;
    const found = await this.#expand(parts, after === '' ? undefined : first, sentMs);
    if ('code' in found) return found;
    for (const [shard, each] of found) {
      const isWhole = shard !== stopped?.shard && (shard !== first || after === '');
      if (isWhole && each.version !== NO_VERSION) known.set(pages.group, shard, each);
    }
    return { found, stopped };
  }

  /**
   * Replaces users by their devices. The user of a device is a member if it was read with the
   * device, even if it joins now; only that of a device on a later page of its shard has to be
   * asked for.
   * @param continued the shard whose first members are on an earlier page
   */
  async #expand(
    read: readonly Read[],
    continued: number | undefined,
    sentMs: number,
  ): Promise<Map<number, KnownShard> | Rejection> {
    const { store, pages, devicesMax } = this;
    const { link, channelOf } = store;
    const found = new Map<number, KnownShard>();
    const runs = runsOf(link, read, ({ members }) => members.length, MEMBERS_PER_CALL);
    const rejected = await Promise.all(
      runs.map(async (run) => {
        const users = run.map(({ shard, members }) => {
          const { members: known, others } = usersOf(members);
          const asked = shard === continued ? others : [];
          return { channel: channelOf(shard), members: known, others: asked };
        });
        const outcome = await readMemberDevices(link, pages.group, users, devicesMax + 1);
        if (outcome.type !== 'done') return rejection('REDIS_UNAVAILABLE', outcome.reason);
        const { lists, validForMs } = outcome.reply;
        const names = users.flatMap((part) => [...part.members, ...part.others]);
        const devices = new Map(names.map((user, i) => [user, lists[i]]));
        for (const { shard, version, members } of run) {
          const expanded = expandMembers(members, (user) => devices.get(user), devicesMax);
          const validUntilMs = sentMs + validForMs;
          found.set(shard, { ...expanded, version, members: members.length, validUntilMs });
        }
        return undefined;
      }),
    );
    return rejected.find((each) => each !== undefined) ?? found;
  }
}
