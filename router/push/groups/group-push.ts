/**
 * One payload for all members of a group. Members are read page by page in the order of their
 * shards; a page is begun when the rate of the caller permits it, and then completed. So at every
 * moment the position of the next page says what is left, and a caller that has received it can
 * continue there.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import { TokenBucket } from '../../../common/process/token-bucket.js';
import { rejectGroup } from '../../../common/wire/group-name.js';
import type { TraceBody } from '../../../proto/gen/longline/v1/envelope.js';
import type { PushGroupRequest, PushGroupResponse } from '../../../proto/gen/longline/v1/group.js';
import { ManyPusher, type ManyPusherOptions } from '../many/many-pusher.js';
import type { ClientsOfShard } from '../many/packed.js';
import type { Places } from '../many/places.js';
import { Tally } from '../many/tally.js';
import { GroupClients } from './group-clients.js';
import type { KnownMembers } from './known-members.js';
import { type GroupStore, MemberPages } from './member-pages.js';
import { type MembersPosition, parseToken, tokenOf } from './members-position.js';

/** A page has at most the clients of this time, at the rate of the caller. */
const PAGE_SECONDS = 0.1;
/** No page is begun this close to the deadline: its verdicts could not be awaited. */
const VERDICTS_MS = 100;
/** Interval at which a push that waits notices that it must end. */
const END_POLL_MS = 1_000;

export interface GroupPushOptions extends ManyPusherOptions {
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

/** Members of a page. */
const PAGES: Readonly<Record<ManyPusher['kind'], number>> = {
  live: 2_000,
  together: 512,
  alone: 2_000,
};

class GroupPush {
  readonly #tally = new Tally();
  readonly #manyPusher: ManyPusher;
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
    const common = { ...request, ...NOT_OF_GROUPS };
    const push = { common, answerByMs: limits.answerByMs, tally: this.#tally, trace };
    this.#manyPusher = new ManyPusher(options, { ...push, isRemembered: false });
    const pageMax = PAGES[this.#manyPusher.kind];
    this.#pageMax = rate === 0 ? pageMax : Math.max(1, Math.min(pageMax, rate * PAGE_SECONDS));
    this.#bucket = rate === 0 ? undefined : new TokenBucket(rate, performance.now(), 0);
    this.#places = this.#manyPusher.places();
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
    for (const { clients: count, send } of this.#manyPusher.stepsOf(parts)) {
      await this.#places.untilFree();
      this.#places.hold(send(), count);
    }
    return undefined;
  }

  #onTooMany(user: string): void {
    const { pusher, devicesMax } = this.options;
    const message = `the user has more than ${devicesMax} devices, the maximum; nothing was sent`;
    this.#tally.onFailure(user, pusher.rejected(rejection('USER_DEVICES_TOO_MANY', message)));
  }
}

const DEADLINE_EXCEEDED = rejection(
  'DEADLINE_EXCEEDED',
  'the deadline of the call has come; go on with the resume token',
);
const ENDED = rejection('NOT_READY', 'the call was cancelled, or the router is shutting down');
