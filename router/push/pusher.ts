/** The Push API without gRPC: validates, queries the edges, and computes the verdict. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Counter, Histogram } from 'prom-client';
import { type InboxBounds, type StorePush, storePush } from '../../common/cluster/inbox/push.js';
import { isAcked } from '../../common/cluster/inbox.js';
import type {
  QueryResult,
  SendEnvelope,
  SendResult,
  ShardQueries,
} from '../../common/cluster/shard-query.js';
import { isSkipped } from '../../common/cluster/undelivered.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { rejectClientId } from '../../common/wire/client-id.js';
import {
  AcceptLevel,
  type DisconnectResponse,
  type GetPresenceResponse,
  type PushRequest,
  type PushResponse,
  Verdict,
  WaitFor,
} from '../../proto/gen/longline/v1/push.js';
import type { AcceptLevelWriters, RequiredLevel, StoreOutcome } from './accept-level-writer.js';
import { ClientRates } from './client-rates.js';
import { rejectPush, requiredLevelOf } from './push-check.js';
import { isFinalForPush, verdictOfDurable, verdictOfLive } from './verdict.js';

/** Interval of reading whether a device has confirmed a push with WAIT_FOR_ACKED. */
const ACK_POLL_MS = 100;
/** Skipped pushes are rare, so fewer polls look for them. */
const POLLS_PER_SKIPPED = 5;

/** The router's settings for pushes. */
export interface PusherConfig {
  /** How long a push waits for its verdict unless it says so itself. */
  readonly waitMs: number;
  readonly payloadBytesMax: number;
  readonly ttlDefaultMs: number;
  readonly ttlMaxMs: number;
  readonly inbox: InboxBounds;
  /** Default accept level; undefined: a push is answered when Redis has it. */
  readonly acceptLevel: RequiredLevel | undefined;
  /** Per client. */
  readonly clientPushesPerSecondMax: number;
}

interface PusherOptions {
  readonly shardQueries: ShardQueries;
  readonly link: Pick<RedisLink, 'execute'>;
  readonly writers: AcceptLevelWriters;
  readonly config: PusherConfig;
  readonly metrics: Metrics;
}

const { VERDICT_UNKNOWN } = Verdict;
const { ACCEPT_LEVEL_UNSPECIFIED, ACCEPT_LEVEL_ACCEPTED } = AcceptLevel;

export class Pusher {
  readonly shardQueries: ShardQueries;
  readonly config: PusherConfig;
  readonly #link: PusherOptions['link'];
  readonly #writers: AcceptLevelWriters;
  readonly #dropped: Counter;
  /** Bound to their labels: looking these up takes longer than counting. */
  readonly #verdicts: ReadonlyMap<Verdict, Counter.Internal>;
  readonly #rejected: Counter<'code'>;
  readonly #abandoned: Counter;
  readonly #seconds: Histogram;
  readonly #rates: ClientRates;

  constructor({ shardQueries, link, writers, config, metrics }: PusherOptions) {
    this.shardQueries = shardQueries;
    this.config = config;
    this.#link = link;
    this.#writers = writers;
    this.#rates = new ClientRates(config.clientPushesPerSecondMax);
    const pushes = metrics.counter('longline_router_pushes_total', 'Pushes by verdict', [
      'verdict',
    ]);
    const verdicts = Object.values(Verdict).filter((verdict) => typeof verdict === 'number');
    this.#verdicts = new Map(
      verdicts.map((verdict) => [verdict, pushes.labels({ verdict: Verdict[verdict]! })]),
    );
    this.#rejected = metrics.counter(
      'longline_router_requests_rejected_total',
      'Rejected requests of backends, by error code',
      ['code'],
    );
    this.#abandoned = metrics.counter(
      'longline_router_pushes_abandoned_total',
      'Pushes of PushMany that were not begun because the caller had cancelled or disconnected',
    );
    this.#dropped = metrics.counter(
      'longline_router_inbox_dropped_total',
      'Stored pushes removed because they had expired or their inbox was full',
    );
    this.#seconds = metrics.histogram(
      'longline_router_push_seconds',
      'Seconds from request to verdict',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    );
  }

  /**
   * Not async, nor the functions it calls for a live push: each promise has a cost per push.
   * @param answerByMs when the response must be ready, in ms of the monotonic clock
   * @param isCounted whether it counts against the rate of its client
   */
  push(
    request: PushRequest,
    answerByMs: number,
    isCounted = true,
  ): Promise<PushResponse | Rejection> {
    const ttlMs = this.ttlMsOf(request);
    const startedMs = performance.now();
    const waitMs = this.admit(request, startedMs, answerByMs, isCounted);
    if (typeof waitMs !== 'number') return Promise.resolve(this.rejected(waitMs));
    const responding =
      ttlMs === 0
        ? this.#pushLive(request, waitMs)
        : this.#pushDurable(request, ttlMs, startedMs + waitMs);
    return responding.then((response) => {
      if ('code' in response) return this.rejected(response);
      this.onVerdict(response.verdict, startedMs);
      return response;
    });
  }

  ttlMsOf({ ttlMs }: Pick<PushRequest, 'ttlMs'>): number {
    return ttlMs ?? this.config.ttlDefaultMs;
  }

  /** Returns how long the verdict of a push may be awaited, or why it is not begun. */
  admit(
    request: PushRequest,
    nowMs: number,
    answerByMs: number,
    isCounted: boolean,
  ): number | Rejection {
    const invalid = rejectPush(request, this.ttlMsOf(request), this.config);
    if (invalid !== undefined) return invalid;
    if (nowMs >= this.shardQueries.waitsEndAtMs) return stopping();
    const waitMs = Math.min(request.waitMs || this.config.waitMs, answerByMs - nowMs);
    if (waitMs <= 0) return deadlineExceeded();
    if (!isCounted) return waitMs;
    return this.#rates.reject(request.clientId, nowMs) ?? waitMs;
  }

  /** Counts the verdict of a push that was begun at `startedMs`. */
  onVerdict(verdict: Verdict, startedMs: number): void {
    this.#seconds.observe((performance.now() - startedMs) / 1_000);
    this.#verdicts.get(verdict)!.inc();
  }

  #pushLive(request: PushRequest, waitMs: number): Promise<PushResponse | Rejection> {
    return this.#query(request, 0, waitMs).then((answers) => {
      if ('code' in answers) return answers;
      const verdict = verdictOfLive(answers);
      return { verdict, messageId: '', acceptLevel: ACCEPT_LEVEL_UNSPECIFIED };
    });
  }

  /** @param untilMs end of the wait, in ms of the monotonic clock */
  async #pushDurable(
    request: PushRequest,
    ttlMs: number,
    untilMs: number,
  ): Promise<PushResponse | Rejection> {
    const { clientId, payload, contentType, idempotencyKey } = request;
    const channel = this.shardQueries.channelOf(clientId);
    const required = requiredLevelOf(request, this.config.acceptLevel);
    let outcome: StoreOutcome | undefined;
    const waitMs = untilMs - performance.now();
    const answers = await this.#query(request, ttlMs, waitMs, (_channel, envelope) => {
      const push = { channel, clientId, envelope, payload, contentType, ttlMs, idempotencyKey };
      return this.#store(push, required, untilMs).then((result) => {
        outcome = result;
        return this.#sendResultOf(result);
      });
    });
    if ('code' in answers) return answers;
    if (outcome?.type === 'unavailable') {
      return rejection('ACCEPT_LEVEL_UNAVAILABLE', outcome.reason);
    }
    if (outcome?.type !== 'stored') {
      // Redis did not answer in time. QueryResult of edges prove the write, but no higher accept level.
      const verdict = required === undefined ? verdictOfDurable(answers, false) : VERDICT_UNKNOWN;
      return { verdict, messageId: '', acceptLevel: ACCEPT_LEVEL_UNSPECIFIED };
    }
    const { stored, isConfirmed } = outcome;
    const messageId = stored.type === 'stored' ? stored.id : stored.firstId;
    if (!isConfirmed) {
      return { verdict: VERDICT_UNKNOWN, messageId, acceptLevel: ACCEPT_LEVEL_ACCEPTED };
    }
    const acceptLevel = required?.level ?? ACCEPT_LEVEL_ACCEPTED;
    if (request.waitFor === WaitFor.WAIT_FOR_ACKED) {
      const verdict = await this.#ackVerdictBy(untilMs, channel, clientId, messageId);
      if (verdict !== undefined) return { verdict, messageId, acceptLevel };
    }
    const verdict =
      stored.type === 'stored' ? verdictOfDurable(answers, true) : Verdict.VERDICT_DUPLICATE;
    return { verdict, messageId, acceptLevel };
  }

  #sendResultOf(outcome: StoreOutcome): SendResult {
    if (outcome.type === 'unavailable') return { type: 'decided' };
    if (outcome.type !== 'stored') return outcome;
    const { stored } = outcome;
    if (stored.type === 'duplicate') return { type: 'decided' };
    if (stored.dropped > 0) this.#dropped.inc(stored.dropped);
    return { type: 'published', receivers: stored.receivers };
  }

  /** Polls Redis, as the device may confirm to any edge. Undefined: it has not confirmed in time. */
  async #ackVerdictBy(
    untilMs: number,
    channel: string,
    clientId: string,
    messageId: string,
  ): Promise<Verdict | undefined> {
    for (let polls = 1; ; polls++) {
      const acked = await isAcked(this.#link, channel, clientId, messageId);
      const endMs = Math.min(untilMs, this.shardQueries.waitsEndAtMs);
      const isLast = performance.now() + ACK_POLL_MS > endMs;
      // A confirmation of a later push covers one that was skipped as well.
      if (acked || isLast || polls % POLLS_PER_SKIPPED === 0) {
        const skipped = await isSkipped(this.#link, channel, clientId, messageId);
        if (skipped) return Verdict.VERDICT_SKIPPED;
      }
      if (acked) return Verdict.VERDICT_ACKED;
      if (isLast) return undefined;
      await sleep(ACK_POLL_MS);
    }
  }

  #store(
    push: StorePush,
    required: RequiredLevel | undefined,
    untilMs: number,
  ): Promise<StoreOutcome> {
    if (required !== undefined) return this.#writers.store(push, required, untilMs);
    return storePush(this.#link, push, this.config.inbox).then((outcome) =>
      outcome.type === 'done'
        ? { type: 'stored', stored: outcome.reply, isConfirmed: true }
        : outcome,
    );
  }

  #query(
    request: PushRequest,
    ttlMs: number,
    waitMs: number,
    send?: SendEnvelope,
  ): Promise<QueryResult | Rejection> {
    const { clientId, payload, contentType, waitFor } = request;
    const value = { payload, contentType, ttlMs, clientIds: [] };
    const body = { $case: 'push', value } as const;
    const isFinal = waitFor === WaitFor.WAIT_FOR_STORED ? null : isFinalForPush;
    return this.shardQueries.query(clientId, body, waitMs, isFinal, send);
  }

  /** @param answerByMs when the response must be ready, in ms of the monotonic clock */
  async presence(clientId: string, answerByMs: number): Promise<GetPresenceResponse | Rejection> {
    const leftMs = answerByMs - performance.now();
    const invalid = rejectClientId(clientId) ?? (leftMs <= 0 ? deadlineExceeded() : undefined);
    if (invalid !== undefined) return this.rejected(invalid);
    const found = await this.shardQueries.queryPresence(clientId, leftMs);
    return 'code' in found ? this.rejected(found) : found;
  }

  /** @param answerByMs when the response must be ready, in ms of the monotonic clock */
  async disconnect(clientId: string, answerByMs: number): Promise<DisconnectResponse | Rejection> {
    const waitMs = Math.min(this.config.waitMs, answerByMs - performance.now());
    const invalid = rejectClientId(clientId) ?? (waitMs <= 0 ? deadlineExceeded() : undefined);
    if (invalid !== undefined) return this.rejected(invalid);
    const body = { $case: 'disconnect', value: {} } as const;
    const answers = await this.shardQueries.query(clientId, body, waitMs, () => false);
    if ('code' in answers) return this.rejected(answers);
    const closed = answers.bodies.filter((answer) => answer.$case === 'closed').length;
    return { closed, complete: answers.complete };
  }

  /** Counts pushes that are not begun because their caller has gone. */
  onAbandoned(count: number): void {
    this.#abandoned.inc(count);
  }

  /** Counts a rejection and returns it. */
  rejected(rejected: Rejection): Rejection {
    this.#rejected.inc({ code: rejected.code });
    return rejected;
  }
}

/** The answer to what arrives when the router has stopped; nothing was sent. */
export function stopping(): Rejection {
  return rejection('NOT_READY', 'the router is shutting down; push through another one');
}

function deadlineExceeded(): Rejection {
  return rejection(
    'DEADLINE_EXCEEDED',
    'the deadline of the call leaves no time; nothing was sent',
  );
}
