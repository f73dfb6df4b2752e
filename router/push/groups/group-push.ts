/**
 * One payload for all members of a group. Members are read page by page in the order of their
 * shards; a page is begun when the rate of the caller permits it, and then completed. So at every
 * moment the position of the next page says what is left, and a caller that has received it can
 * continue there.
 *
 * A durable push is stored by one script for many members; one that waits for a confirmation or a
 * higher accept level, or has a key, is a PushMany.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import { TokenBucket } from '../../../common/process/token-bucket.js';
import { rejectGroup } from '../../../common/wire/group-name.js';
import type { TraceBody } from '../../../proto/gen/longline/v1/envelope.js';
import type { PushGroupRequest, PushGroupResponse } from '../../../proto/gen/longline/v1/group.js';
import { type PushRequest, WaitFor } from '../../../proto/gen/longline/v1/push.js';
import { Places, shareOfInFlight } from '../many/places.js';
import { CLIENT_IDS_MAX, pushMany } from '../many/push-many.js';
import { Rounds } from '../many/rounds.js';
import { CLIENTS_PER_MESSAGE, MESSAGES_AT_ONCE, type ShardGroups } from '../many/shard-groups.js';
import { Tally } from '../many/tally.js';
import { combinationOf, requiredLevelOf } from '../push-check.js';
import type { Pusher } from '../pusher.js';
import { GroupClients } from './group-clients.js';
import type { KnownMembers } from './known-members.js';
import { type GroupStore, MemberPages, runsOf } from './member-pages.js';
import { type MembersPosition, parseToken, tokenOf } from './members-position.js';
import { type ClientsOfShard, countOf, packed, slicesOf } from './packed.js';
import { LivePusher } from './push-live.js';
import { clientsPerScript, TogetherPusher } from './push-together.js';

/** A page has at most the clients of this time, at the rate of the caller. */
const PAGE_SECONDS = 0.1;
/** No page is begun this close to the deadline: its verdicts could not be awaited. */
const VERDICTS_MS = 100;
/** Interval at which a push that waits notices that it must end. */
const END_POLL_MS = 1_000;

export interface GroupPushOptions {
  readonly pusher: Pusher;
  readonly shardGroups: ShardGroups;
  readonly store: GroupStore;
  readonly known: KnownMembers;
  /** Devices of one user; a user with more is a failure. */
  readonly devicesMax: number;
}

export interface GroupPushLimits {
  /** When the response must be ready, in ms of the monotonic clock. */
  readonly answerByMs: number;
  /** Whether the caller has cancelled the call, or the router shuts down. */
  readonly isEnded: () => boolean;
  /** Whether the caller may not send this number of pushes now. */
  readonly rejectPushes: (count: number) => Rejection | undefined;
}

/** @param trace of the call, for messages to several clients */
export async function pushGroup(
  options: GroupPushOptions,
  request: PushGroupRequest,
  limits: GroupPushLimits,
  trace?: TraceBody,
): Promise<PushGroupResponse | Rejection> {
  const { pusher, store } = options;
  const from = parseToken(request.resumeToken, store.shardCount);
  if ('code' in from) return from;
  // The client stands for all members: what is checked are the other fields.
  const push = { ...request, ...NOT_OF_GROUPS, clientId: '-' };
  const admitted = pusher.admit(push, performance.now(), limits.answerByMs, false);
  const invalid =
    rejectGroup(request.group) ?? (typeof admitted === 'number' ? undefined : admitted);
  if (invalid !== undefined) return invalid;
  const pages = await MemberPages.open(store, request.group, from);
  if ('code' in pages) return pages;
  const clients = new GroupClients(store, options.known, pages, options.devicesMax);
  return new GroupPush(options, request, limits, clients, trace).run();
}

/** Fields that a push to a group does not have. */
const NOT_OF_GROUPS = { flightRecord: false };

/**
 * - `live`: live only, with messages to several clients (push-live.ts).
 * - `together`: durable, stored by one script for several clients (push-together.ts).
 * - `each`: what these cannot do, as PushMany does it.
 */
type Kind = 'live' | 'together' | 'each';

const PAGES: Readonly<Record<Kind, { readonly members: number; readonly atOnce: number }>> = {
  live: { members: 2_000, atOnce: MESSAGES_AT_ONCE },
  together: { members: 512, atOnce: 16 },
  each: { members: 2_000, atOnce: 4 },
};

class GroupPush {
  readonly #tally = new Tally();
  readonly #together: TogetherPusher;
  readonly #live: LivePusher;
  readonly #common: Omit<PushRequest, 'clientId'>;
  readonly #kind: Kind;
  readonly #pageMax: number;
  readonly #bucket: TokenBucket | undefined;
  readonly #places: Places;
  #begun = 0;

  constructor(
    readonly options: GroupPushOptions,
    { group, clientsPerSecond: rate, resumeToken, ...request }: PushGroupRequest,
    readonly limits: GroupPushLimits,
    readonly clients: GroupClients,
    trace: TraceBody | undefined,
  ) {
    const { pusher, store, shardGroups } = options;
    const common = { ...request, ...NOT_OF_GROUPS };
    this.#common = common;
    this.#together = new TogetherPusher(pusher, store, this.#tally);
    const { answerByMs } = limits;
    this.#live = new LivePusher(pusher, shardGroups, common, this.#tally, answerByMs, trace);
    this.#kind = kindOf(pusher, common);
    const { members, atOnce } = PAGES[this.#kind];
    this.#pageMax = rate === 0 ? members : Math.max(1, Math.min(members, rate * PAGE_SECONDS));
    this.#bucket = rate === 0 ? undefined : new TokenBucket(rate, performance.now(), 0);
    this.#places = new Places(atOnce, shareOfInFlight(pusher.shardQueries));
  }

  async run(): Promise<PushGroupResponse | Rejection> {
    let position: MembersPosition | undefined;
    let stopped: Rejection | undefined;
    try {
      for (;;) {
        await this.#places.untilFree();
        await this.#untilPaid();
        position = this.clients.position;
        if (position === undefined) break;
        stopped = this.#rejectPage() ?? (await this.#pushPage());
        if (stopped !== undefined) break;
      }
      await this.#places.untilDone();
    } finally {
      this.#places.close();
    }
    if (stopped !== undefined && this.#begun === 0) return stopped;
    const { counts, failures, failed } = this.#tally;
    const resumeToken = position === undefined ? '' : tokenOf(position);
    return { counts, failures, failed, resumeToken, stopped };
  }

  /** Why no further page is begun. */
  #rejectPage(): Rejection | undefined {
    const leftMs = this.limits.answerByMs - performance.now();
    if (leftMs <= 0 || (this.#begun > 0 && leftMs < VERDICTS_MS)) return DEADLINE_EXCEEDED;
    return this.limits.isEnded() ? ENDED : undefined;
  }

  async #untilPaid(): Promise<void> {
    for (;;) {
      const debtMs = this.#bucket?.debtMs(performance.now()) ?? 0;
      if (debtMs === 0 || this.#rejectPage() !== undefined) return;
      const leftMs = this.limits.answerByMs - performance.now();
      await sleep(Math.min(END_POLL_MS, debtMs, leftMs));
    }
  }

  /** Begins the pushes to the next members: all of a page, or none, and then returns why. */
  async #pushPage(): Promise<Rejection | undefined> {
    const parts: ClientsOfShard[] = [];
    const tooMany: string[] = [];
    let members = 0;
    while (members < this.#pageMax && this.clients.position !== undefined) {
      const read = await this.clients.read(this.#pageMax - members);
      if ('code' in read) return read;
      members += read.members;
      parts.push(...read.parts);
      tooMany.push(...read.tooMany);
    }
    const clients = parts.reduce((sum, { clientIds }) => sum + clientIds.length, 0);
    const overQuota = clients === 0 ? undefined : this.limits.rejectPushes(clients);
    if (overQuota !== undefined) return overQuota;
    this.#begun++;
    this.#bucket?.charge(performance.now(), clients);
    for (const user of tooMany) this.#onTooMany(user);
    await this.#push(parts);
    return undefined;
  }

  async #push(parts: readonly ClientsOfShard[]): Promise<void> {
    const max = clientsPerScript(this.#common.payload.length);
    if (this.#kind === 'live') await this.#pushLive(parts);
    else if (this.#kind === 'together') await this.#pushTogether(parts, max);
    else if (parts.length > 0) this.#places.hold(this.#pushMany(parts));
  }

  /** @param max clients of a script */
  async #pushTogether(parts: readonly ClientsOfShard[], max: number): Promise<void> {
    const slices = this.#byOwner(parts, max).flatMap((all, owner) =>
      all.map((slice) => ({ ...slice, owner })),
    );
    for (const run of runsOf(this.options.store, slices, countOf, max)) {
      await this.#places.untilFree();
      const owners = new Set(run.map(({ owner }) => owner));
      const messages = [...owners].map((owner) => run.filter((slice) => slice.owner === owner));
      const pushing = this.#together.push(this.#common, messages, this.limits.answerByMs);
      this.#places.hold(pushing);
    }
  }

  async #pushLive(parts: readonly ClientsOfShard[]): Promise<void> {
    const messages = new Rounds(
      this.#byOwner(parts, CLIENTS_PER_MESSAGE).map((slices) =>
        packed(slices, countOf, CLIENTS_PER_MESSAGE),
      ),
    );
    for (let next = messages.next(1); next !== undefined; next = messages.next(1)) {
      await this.#places.untilFree();
      this.#places.hold(this.#live.push(next[0]!));
    }
  }

  /**
   * For each owner of shards its clients, which can share messages. A slice has `max` of them at
   * most.
   */
  #byOwner(parts: readonly ClientsOfShard[], max: number): ClientsOfShard[][] {
    const byShard = new Map<number, string[]>();
    for (const { shard, clientIds } of parts) {
      const others = byShard.get(shard);
      if (others === undefined) byShard.set(shard, [...clientIds]);
      else others.push(...clientIds);
    }
    const shards = [...byShard.keys()];
    // If no edge answers, the router does not notice a shard that one leaves out: each goes alone.
    const owners =
      this.#common.waitFor === WaitFor.WAIT_FOR_STORED
        ? shards.map((shard) => [shard])
        : this.options.shardGroups.group(shards);
    return owners.map((own) =>
      own.flatMap((shard) => slicesOf({ shard, clientIds: byShard.get(shard)! }, max)),
    );
  }

  async #pushMany(parts: readonly ClientsOfShard[]): Promise<void> {
    const { pusher, shardGroups } = this.options;
    const { answerByMs, isEnded } = this.limits;
    const clientIds = parts.flatMap((part) => part.clientIds);
    for (let i = 0; i < clientIds.length; i += CLIENT_IDS_MAX) {
      const request = { ...this.#common, clientIds: clientIds.slice(i, i + CLIENT_IDS_MAX) };
      const response = await pushMany(pusher, shardGroups, request, answerByMs, isEnded);
      if (!('code' in response)) this.#tally.add(response);
    }
  }

  #onTooMany(user: string): void {
    const { pusher, devicesMax } = this.options;
    const message = `the user has more than ${devicesMax} devices, the maximum; nothing was sent`;
    this.#tally.onFailure(user, pusher.rejected(rejection('USER_DEVICES_TOO_MANY', message)));
  }
}

function kindOf(pusher: Pusher, common: Omit<PushRequest, 'clientId'>): Kind {
  if (pusher.ttlMsOf(common) === 0) return 'live';
  const isTogether =
    common.waitFor !== WaitFor.WAIT_FOR_ACKED &&
    combinationOf(common) === undefined &&
    common.notifyUnreadAfterMs === 0 &&
    requiredLevelOf(common, pusher.config.acceptLevel) === undefined;
  return isTogether ? 'together' : 'each';
}

const DEADLINE_EXCEEDED = rejection(
  'DEADLINE_EXCEEDED',
  'the deadline of the call has come; go on with the resume token',
);
const ENDED = rejection('NOT_READY', 'the call was cancelled, or the router is shutting down');
