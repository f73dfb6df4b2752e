/**
 * Joins, leaves, lists and deletes groups. Members are changed in their own shards, then the index
 * of the group follows (`group-index.ts`). A call that fails halfway can be repeated.
 */
import type { Counter } from 'prom-client';
import type { EventBounds } from '../../../common/cluster/events/event-stream.js';
import {
  clearShards,
  markShards,
  readGroupNames,
  readIndex,
} from '../../../common/cluster/groups/group-index.js';
import {
  joinGroup,
  leaveGroup,
  MEMBERS_PER_CALL,
  readGroupsOf,
  type ShardMembers,
  TOO_MANY_GROUPS,
} from '../../../common/cluster/groups/members.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { Metrics } from '../../../common/process/metrics.js';
import type { Outcome } from '../../../common/redis/execute.js';
import { rejectClientId } from '../../../common/wire/client-id.js';
import { rejectGroup } from '../../../common/wire/group-name.js';
import type {
  DeleteGroupRequest,
  DeleteGroupResponse,
  JoinGroupRequest,
  JoinGroupResponse,
  LeaveGroupRequest,
  LeaveGroupResponse,
  ListGroupsRequest,
  ListGroupsResponse,
  ListMembersRequest,
  ListMembersResponse,
} from '../../../proto/gen/longline/v1/group.js';
import { runsOf } from '../many/packed.js';
import { CLIENT_IDS_MAX } from '../many/push-many.js';
import { Tally } from '../many/tally.js';
import { KnownMembers } from './known-members.js';
import { type GroupStore, homeOf, MemberPages, type MembersOfShard } from './member-pages.js';
import { parseToken, START, tokenOf } from './members-position.js';

const PAGE_SIZE_DEFAULT = 1_000;
/** Maximum scripts of one call that await Redis. */
const SCRIPTS_AT_ONCE = 64;

interface MembershipsOptions {
  readonly store: GroupStore;
  /** Undefined: no events of groups are written. */
  readonly events: EventBounds | undefined;
  readonly metrics: Metrics;
}

/** Members of one shard. */
type Part = ShardMembers & { readonly shard: number };

export class Memberships {
  readonly store: GroupStore;
  readonly #events: EventBounds | undefined;
  readonly known: KnownMembers;
  readonly #changes: Counter<'change'>;

  constructor({ store, events, metrics }: MembershipsOptions) {
    this.store = store;
    this.#events = events;
    this.known = new KnownMembers(metrics);
    this.#changes = metrics.counter(
      'longline_router_group_members_total',
      'Members of groups by change: joined, left, or failed',
      ['change'],
    );
  }

  async join({ group, members }: JoinGroupRequest): Promise<JoinGroupResponse | Rejection> {
    const invalid = rejectGroup(group) ?? rejectCount(members.length);
    if (invalid !== undefined) return invalid;
    const { link } = this.store;
    const tally = new Tally();
    const touched: number[] = [];
    let joined = 0;
    await this.#forEachRun(members, tally, async (parts) => {
      const outcome = await joinGroup(link, group, parts, this.#events);
      if (outcome.type !== 'rejected') touched.push(...parts.map(({ shard }) => shard));
      if (outcome.type !== 'done') return failAll(tally, parts, outcome);
      for (const [i, part] of parts.entries()) {
        for (const [j, member] of part.members.entries()) {
          const mark = outcome.reply[i]![j];
          if (mark === '1') joined++;
          if (mark === 'f') tally.onFailure(member, TOO_MANY_GROUPS);
        }
      }
    });
    if (touched.length > 0) {
      const marked = await markShards(link, homeOf(this.store, group), group, touched);
      // Until a repeated call has marked them, pushes may not reach these members.
      if (marked.type !== 'done') return rejection('REDIS_UNAVAILABLE', marked.reason);
    }
    this.#count('joined', joined, tally);
    return { joined, failed: tally.failed, failures: tally.failures };
  }

  async leave({ group, members }: LeaveGroupRequest): Promise<LeaveGroupResponse | Rejection> {
    const invalid = rejectGroup(group) ?? rejectCount(members.length);
    if (invalid !== undefined) return invalid;
    const { link } = this.store;
    // Before the members: see `group-index.ts`.
    const index = await readIndex(link, homeOf(this.store, group), group);
    if (index.type !== 'done') return rejection('REDIS_UNAVAILABLE', index.reason);
    const tally = new Tally();
    const emptied: number[] = [];
    let left = 0;
    await this.#forEachRun(members, tally, async (parts) => {
      const outcome = await leaveGroup(link, group, parts, this.#events);
      if (outcome.type !== 'done') return failAll(tally, parts, outcome);
      for (const [i, { count, isEmpty }] of outcome.reply.entries()) {
        left += count;
        if (isEmpty) emptied.push(parts[i]!.shard);
      }
    });
    await this.#clear(group, index.reply.version, emptied);
    this.#count('left', left, tally);
    return { left, failed: tally.failed, failures: tally.failures };
  }

  async delete({ group }: DeleteGroupRequest): Promise<DeleteGroupResponse | Rejection> {
    const invalid = rejectGroup(group);
    if (invalid !== undefined) return invalid;
    const { link, channelOf } = this.store;
    const index = await readIndex(link, homeOf(this.store, group), group);
    if (index.type !== 'done') return rejection('REDIS_UNAVAILABLE', index.reason);
    const pages = await MemberPages.open(this.store, group, START);
    if ('code' in pages) return pages;
    let removed = 0;
    while (pages.position !== undefined) {
      const page = await pages.read(MEMBERS_PER_CALL);
      if ('code' in page) return page;
      const parts = page.map((part) => ({ ...part, channel: channelOf(part.shard) }));
      for (const run of runsOf(this.store.link, parts, countOf, MEMBERS_PER_CALL)) {
        const outcome = await leaveGroup(link, group, run, this.#events);
        if (outcome.type !== 'done') return rejection('REDIS_UNAVAILABLE', outcome.reason);
        for (const { count } of outcome.reply) removed += count;
      }
    }
    await this.#clear(group, index.reply.version, index.reply.shards);
    this.#changes.inc({ change: 'left' }, removed);
    return { removed };
  }

  async listMembers(request: ListMembersRequest): Promise<ListMembersResponse | Rejection> {
    const { group, pageToken } = request;
    const size = pageSizeOf(request);
    if (typeof size !== 'number') return size;
    const from = parseToken(pageToken, this.store.shardCount);
    const invalid = rejectGroup(group) ?? ('code' in from ? from : undefined);
    if (invalid !== undefined || 'code' in from) return invalid!;
    const pages = await MemberPages.open(this.store, group, from);
    if ('code' in pages) return pages;
    const members: string[] = [];
    while (pages.position !== undefined && members.length < size) {
      const page = await pages.read(size - members.length);
      if ('code' in page) return page;
      for (const part of page) members.push(...part.members);
    }
    const { position } = pages;
    return { members, nextPageToken: position === undefined ? '' : tokenOf(position) };
  }

  async listGroups(request: ListGroupsRequest): Promise<ListGroupsResponse | Rejection> {
    const { member } = request;
    const size = pageSizeOf(request);
    if (typeof size !== 'number') return size;
    if (member === '') return this.#listAll(request.pageToken, size);
    const invalid = rejectClientId(member);
    if (invalid !== undefined) return invalid;
    const { link, channelOf, shardOf } = this.store;
    const read = await readGroupsOf(link, channelOf(shardOf(member)), member);
    if (read.type !== 'done') return rejection('REDIS_UNAVAILABLE', read.reason);
    return { groups: read.reply.toSorted(), nextPageToken: '' };
  }

  async #listAll(token: string, size: number): Promise<ListGroupsResponse | Rejection> {
    const { link, channelOf, shardCount } = this.store;
    const from = parseToken(token, shardCount);
    if ('code' in from) return from;
    const groups: string[] = [];
    let { shard, after } = from;
    while (shard < shardCount && groups.length < size) {
      const shards = Array.from({ length: SCRIPTS_AT_ONCE }, (_, i) => shard + i);
      const countMax = size - groups.length;
      const reads = await Promise.all(
        shards
          .filter((each) => each < shardCount)
          .map((each, i) => readGroupNames(link, channelOf(each), i === 0 ? after : '', countMax)),
      );
      for (const read of reads) {
        if (read.type !== 'done') return rejection('REDIS_UNAVAILABLE', read.reason);
        const names = read.reply.slice(0, size - groups.length);
        groups.push(...names);
        if (groups.length === size) {
          after = names.at(-1) ?? after;
          return { groups, nextPageToken: tokenOf({ shard, after }) };
        }
        shard++;
        after = '';
      }
    }
    return { groups, nextPageToken: '' };
  }

  /** Calls `change` for runs of valid members, some at once; invalid ones are failures. */
  async #forEachRun(
    members: readonly string[],
    tally: Tally,
    change: (parts: readonly Part[]) => Promise<void>,
  ): Promise<void> {
    const { channelOf, shardOf } = this.store;
    const byShard = new Map<number, string[]>();
    for (const member of new Set(members)) {
      const invalid = rejectClientId(member);
      if (invalid !== undefined) {
        tally.onFailure(member, invalid);
        continue;
      }
      const shard = shardOf(member);
      const others = byShard.get(shard);
      if (others === undefined) byShard.set(shard, [member]);
      else others.push(member);
    }
    const parts = [...byShard].flatMap(([shard, all]) => {
      const channel = channelOf(shard);
      const slices = Math.ceil(all.length / MEMBERS_PER_CALL);
      return Array.from({ length: slices }, (_, i) => ({
        shard,
        channel,
        members: all.slice(i * MEMBERS_PER_CALL, (i + 1) * MEMBERS_PER_CALL),
      }));
    });
    const runs = runsOf(this.store.link, parts, countOf, MEMBERS_PER_CALL);
    for (let i = 0; i < runs.length; i += SCRIPTS_AT_ONCE) {
      await Promise.all(runs.slice(i, i + SCRIPTS_AT_ONCE).map(change));
    }
  }

  /** Shards that stay in the index without members cost an empty read each, no more. */
  async #clear(group: string, version: number, shards: readonly number[]): Promise<void> {
    if (shards.length === 0) return;
    await clearShards(this.store.link, homeOf(this.store, group), group, version, shards);
  }

  #count(change: 'joined' | 'left', count: number, { failed }: Tally): void {
    this.#changes.inc({ change }, count);
    if (failed > 0) this.#changes.inc({ change: 'failed' }, failed);
  }
}

function countOf({ members }: Pick<MembersOfShard, 'members'>): number {
  return members.length;
}

function failAll(
  tally: Tally,
  parts: readonly Part[],
  { reason }: Exclude<Outcome<unknown>, { type: 'done' }>,
): void {
  const failure = rejection('REDIS_UNAVAILABLE', reason);
  for (const { members } of parts) for (const member of members) tally.onFailure(member, failure);
}

function rejectCount(count: number): Rejection | undefined {
  if (count > 0 && count <= CLIENT_IDS_MAX) return undefined;
  const message = `${count} members; 1 to ${CLIENT_IDS_MAX} are allowed`;
  return rejection('REQUEST_MALFORMED', message);
}

function pageSizeOf({ pageSize }: Pick<ListMembersRequest, 'pageSize'>): number | Rejection {
  if (pageSize <= CLIENT_IDS_MAX) return pageSize || PAGE_SIZE_DEFAULT;
  const message = `page_size is ${pageSize}; the maximum is ${CLIENT_IDS_MAX}`;
  return rejection('REQUEST_MALFORMED', message);
}
