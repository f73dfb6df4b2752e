/**
 * One live-only payload for all connected clients, or for those that a selector selects, at a rate.
 *
 * Shards of one owner go in one message (shard-groups.ts), as many as have some hundred clients
 * together: the edge writes to all of them in one turn of its event loop. A shard that the edge has
 * not written to, because it does not own it or is of an earlier version, is sent alone, on its own
 * channel, to all edges that are subscribed. So is one with more or fewer subscribers than one.
 * A shard whose edge did not answer is not sent again: it may have written anyway.
 *
 * With a selector the edges decide by the labels of each client; one of a version that does not
 * know selectors does not answer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { QueryResult, ShardQueries } from '../../../common/cluster/shard-query.js';
import { parseSelector } from '../../../common/labels/selector.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import { TokenBucket } from '../../../common/process/token-bucket.js';
import type { BroadcastRequest, BroadcastResponse } from '../../../proto/gen/longline/v1/push.js';
import { rejectPayload, rejectWhenSlow } from '../push-check.js';
import { Places, shareOfInFlight } from './places.js';
import { Rounds } from './rounds.js';
import { CLIENTS_PER_MESSAGE, MESSAGES_AT_ONCE, type ShardGroups } from './shard-groups.js';

/** A message has at most the clients of this time, at the rate of the caller. */
const MESSAGE_SECONDS = 0.1;
/** Clients that a selector skips and that cost an edge as much as one that it writes to. */
const SKIPPED_PER_WRITTEN = 50;
/** Interval at which a broadcast that waits notices that it must end. */
const END_POLL_MS = 1_000;

export interface BroadcastLimits {
  /** How long the answers to one message are awaited. */
  readonly waitMs: number;
  readonly payloadBytesMax: number;
  /** When the response must be ready, in ms of the monotonic clock. */
  readonly answerByMs: number;
  /** Whether the caller has cancelled the call, or the router shuts down. */
  readonly isEnded: () => boolean;
}

type Queries = Pick<ShardQueries, 'shardCount' | 'inFlightMax' | 'queryShard'>;
type Groups = Pick<ShardGroups, 'group' | 'withOneSubscriber'>;

export async function broadcast(
  shardQueries: Queries,
  groups: Groups,
  request: BroadcastRequest,
  limits: BroadcastLimits,
): Promise<BroadcastResponse | Rejection> {
  const { clientsPerSecond } = request;
  if (clientsPerSecond === 0) {
    return rejection('REQUEST_MALFORMED', 'clients_per_second is 0; the minimum is 1');
  }
  const invalid =
    rejectPayload(request, limits.payloadBytesMax) ?? rejectWhenSlow(request.whenSlow, true);
  if (invalid !== undefined) return invalid;
  const selector = parseSelector(request.selector);
  if ('code' in selector) return selector;
  // Spaces alone select everything, also clients whose labels are unknown.
  const sent = selector.length === 0 ? { ...request, selector: '' } : request;
  return new Broadcast(shardQueries, groups, sent, limits).run();
}

class Broadcast {
  readonly #total: BroadcastResponse = {
    written: 0,
    slow: 0,
    shardsUnknown: 0,
    shardsNotSent: 0,
    notSelected: 0,
    labelsUnknown: 0,
    dropped: 0,
  };
  readonly #bucket: TokenBucket;
  readonly #clientsPerMessage: number;
  /** Shards that no message was sent for. */
  readonly #rounds: Rounds<number>;
  /** Shards that must be sent alone; they come first. */
  readonly #alone: number[] = [];
  /**
   * Shards of which every edge has answered, and their clients that it was or was not written to.
   */
  #shardsComplete = 0;
  #writtenComplete = 0;
  #skippedComplete = 0;
  #rejection: Rejection | undefined;

  constructor(
    readonly shardQueries: Queries,
    readonly groups: Groups,
    readonly request: BroadcastRequest,
    readonly limits: BroadcastLimits,
  ) {
    const { clientsPerSecond } = request;
    // Without a burst: how many clients a shard has is known only after they were written to.
    this.#bucket = new TokenBucket(clientsPerSecond, performance.now(), 0);
    this.#clientsPerMessage = Math.min(CLIENTS_PER_MESSAGE, clientsPerSecond * MESSAGE_SECONDS);
    this.#rounds = new Rounds(groups.group(Array(shardQueries.shardCount).keys()));
  }

  async run(): Promise<BroadcastResponse | Rejection> {
    const places = new Places(MESSAGES_AT_ONCE, shareOfInFlight(this.shardQueries));
    try {
      for (;;) {
        await places.untilFree();
        await this.#untilPaid();
        if (this.#isOver()) break;
        const shards = this.#next();
        if (shards !== undefined) places.hold(this.#send(shards));
        else if (await places.untilDone(() => this.#alone.length > 0)) break;
      }
      await places.untilDone();
    } finally {
      places.close();
    }
    this.#total.shardsNotSent += this.#rounds.left + this.#alone.length;
    const isNothingSent = this.#total.shardsNotSent === this.shardQueries.shardCount;
    return isNothingSent && this.#rejection !== undefined ? this.#rejection : this.#total;
  }

  #next(): readonly number[] | undefined {
    const alone = this.#alone.shift();
    return alone === undefined ? this.#rounds.next(this.#shardsPerMessage()) : [alone];
  }

  /** Never more than have answered before: the next ones may have many more clients. */
  #shardsPerMessage(): number {
    const skippedPerShard = this.#skippedComplete / (this.#shardsComplete || 1);
    const costPerShard = this.#writtenPerShard() + skippedPerShard / SKIPPED_PER_WRITTEN;
    const fitting = Math.floor(this.#clientsPerMessage / costPerShard);
    return Math.max(1, Math.min(this.#shardsComplete, fitting));
  }

  #isOver(): boolean {
    return performance.now() >= this.limits.answerByMs || this.limits.isEnded();
  }

  /** Mean of the shards of which every edge has answered. */
  #writtenPerShard(): number {
    return this.#shardsComplete === 0 ? 0 : this.#writtenComplete / this.#shardsComplete;
  }

  async #untilPaid(): Promise<void> {
    for (;;) {
      const nowMs = performance.now();
      const debtMs = this.#bucket.debtMs(nowMs);
      if (debtMs === 0 || this.#isOver()) return;
      await sleep(Math.min(END_POLL_MS, debtMs, this.limits.answerByMs - nowMs));
    }
  }

  /**
   * Pays for the mean number of clients in advance: many messages may be pending when edges are
   * slow, and the rate must be met anyway. The answer corrects it.
   */
  async #send(shards: readonly number[]): Promise<void> {
    const paid = shards.length * this.#writtenPerShard();
    this.#bucket.charge(performance.now(), paid);
    const together = shards.length === 1 ? shards : await this.#separate(shards);
    const cost = together.length === 0 ? 0 : await this.#sendTogether(together);
    this.#bucket.charge(performance.now(), cost - paid);
  }

  /** Leaves those of the shards that need a message each to later ones. Returns the others. */
  async #separate(shards: readonly number[]): Promise<number[]> {
    const found = await this.groups.withOneSubscriber(shards);
    const together = this.#isOver() ? new Set<number>() : found;
    this.#alone.push(...shards.filter((shard) => !together.has(shard)));
    return [...together];
  }

  /** Returns the number of clients that it may have been written to. */
  async #sendTogether([carrier, ...further]: readonly number[]): Promise<number> {
    const { payload, contentType, selector, whenSlow } = this.request;
    const { waitMs, answerByMs } = this.limits;
    const $case = selector === '' ? 'broadcast' : 'selectedBroadcast';
    const value = { payload, contentType, furtherShards: further, selector, whenSlow };
    const timeoutMs = Math.min(waitMs, answerByMs - performance.now());
    const answers = await this.shardQueries.queryShard(
      carrier!,
      { $case, value },
      timeoutMs,
      further.length === 0,
    );
    if ('code' in answers) {
      this.#total.shardsNotSent += 1 + further.length;
      this.#rejection = answers;
      return 0;
    }
    return this.#count(answers, further);
  }

  #count(answers: QueryResult, further: readonly number[]): number {
    const reached = new Set<number>();
    let written = 0;
    let skipped = 0;
    for (const { $case, value } of answers.bodies) {
      if ($case !== 'broadcast') continue;
      written += value.written;
      this.#total.slow += value.slow;
      this.#total.dropped += value.dropped;
      this.#total.notSelected += value.notSelected;
      this.#total.labelsUnknown += value.labelsUnknown;
      skipped += value.notSelected + value.labelsUnknown;
      for (const shard of value.furtherShards) reached.add(shard);
    }
    this.#total.written += written;
    const notReached = further.filter((shard) => !reached.has(shard));
    if (answers.haveAllReplied) this.#alone.push(...notReached);
    const furtherUnknown = answers.haveAllReplied ? 0 : further.length;
    const unknown = furtherUnknown + (answers.complete ? 0 : 1);
    this.#total.shardsUnknown += unknown;
    if (unknown === 0) {
      this.#shardsComplete += 1 + further.length - notReached.length;
      this.#writtenComplete += written;
      this.#skippedComplete += skipped;
    }
    // An edge that did not answer may have written to its clients anyway.
    return Math.max(written, unknown * this.#writtenPerShard());
  }
}
