/**
 * The Push API for single clients, without an encoding: validates, queries the edges, and computes
 * the verdict.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Counter, Histogram } from 'prom-client';
import { COMBINATION_REASONS } from '../../common/cluster/inbox/combine.js';
import type { InboxBounds, StorePush } from '../../common/cluster/inbox/push.js';
import { readFate } from '../../common/cluster/inbox.js';
import { ShardTotals } from '../../common/cluster/ledger/shard-totals.js';
import { isFinalForPush, verdictOfLive } from '../../common/cluster/push-outcomes.js';
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
import type { ScriptLink } from '../../common/redis/script.js';
import { rejectClientId } from '../../common/wire/client-id.js';
import type { PushBody } from '../../proto/gen/longline/v1/envelope.js';
import {
  AcceptLevel,
  type DisconnectResponse,
  type GetPresenceResponse,
  type PushRequest,
  type PushResponse,
  Verdict,
  WaitFor,
} from '../../proto/gen/longline/v1/push.js';
import { ClientRates } from './client-rates.js';
import type { Caller, PushTrace, PushTraces } from './flight/push-trace.js';
import { RecentPushes } from './flight/recent-pushes.js';
import { type Answered, type PushedTo, SlowPushes } from './flight/slow-pushes.js';
import { combinationOf, rejectPush, requiredLevelOf } from './push-check.js';
import type {
  AcceptLevelWriters,
  RequiredLevel,
  StoreOutcome,
} from './store/accept-level-writer.js';
import { StoreBatches } from './store/store-batches.js';
import type { StoredPushes } from './store/stored-pushes.js';
import { verdictOfDurable } from './verdict.js';

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
  readonly link: ScriptLink & Pick<RedisLink, 'isCluster'>;
  readonly writers: AcceptLevelWriters;
  readonly storedPushes: Pick<StoredPushes, 'onStored'>;
  readonly traces: Pick<PushTraces, 'begin'>;
  readonly config: PusherConfig;
  readonly metrics: Metrics;
}

/** A push that was admitted, without its payload: thousands wait at a time. */
interface BegunPush {
  readonly clientId: string;
  readonly payloadBytes: number;
  readonly isDurable: boolean;
  /** Undefined: being in Redis is enough. */
  readonly required: RequiredLevel | undefined;
  readonly awaitsAck: boolean;
  /** In ms of the monotonic clock; `untilMs` is the end of the wait for the verdict. */
  readonly startedMs: number;
  readonly untilMs: number;
  readonly trace: PushTrace | undefined;
  /** The result of storing it; undefined: it is live only, or Redis has not answered yet. */
  outcome: StoreOutcome | undefined;
}

const NO_CLIENTS: string[] = [];
const NO_NUMBERS: number[] = [];

const { VERDICT_UNKNOWN } = Verdict;
const { ACCEPT_LEVEL_UNSPECIFIED, ACCEPT_LEVEL_ACCEPTED } = AcceptLevel;

export class Pusher {
  readonly shardQueries: ShardQueries;
  readonly config: PusherConfig;
  readonly #link: PusherOptions['link'];
  readonly #batches: StoreBatches;
  readonly #writers: AcceptLevelWriters;
  readonly #storedPushes: PusherOptions['storedPushes'];
  readonly #traces: PusherOptions['traces'];
  readonly #dropped: Counter;
  readonly #replaced: Counter;
  /** Bound to their labels: looking these up takes longer than counting. */
  readonly #verdicts: ReadonlyMap<Verdict, Counter.Internal>;
  readonly #rejected: Counter<'code'>;
  readonly #abandoned: Counter;
  readonly #seconds: Histogram;
  /** Pushes by verdict, seconds until it, and the durable ones that Redis has stored. */
  readonly counted: {
    readonly pushes: Counter<'verdict'>;
    readonly seconds: Histogram;
    readonly stored: ShardTotals;
  };
  readonly #rates: ClientRates;
  readonly slowPushes = new SlowPushes();
  readonly recentPushes = new RecentPushes(performance.now());

  constructor(options: PusherOptions) {
    const { shardQueries, link, writers, storedPushes, traces, config, metrics } = options;
    this.shardQueries = shardQueries;
    this.config = config;
    this.#link = link;
    this.#batches = new StoreBatches(link, config.inbox);
    this.#writers = writers;
    this.#storedPushes = storedPushes;
    this.#traces = traces;
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
      'Stored pushes that a new one removed because they had expired or their inbox was full',
    );
    this.#replaced = metrics.counter(
      'longline_router_inbox_replaced_total',
      'Stored pushes replaced by a later one with the same collapse key',
    );
    this.#seconds = metrics.histogram(
      'longline_router_push_seconds',
      'Seconds from request to verdict',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    );
    const stored = new ShardTotals(shardQueries.shardCount);
    this.counted = { pushes, seconds: this.#seconds, stored };
  }

  /**
   * Not async, nor the functions that it calls for most pushes: each promise has a cost per push.
   * @param answerByMs when the response must be ready, in ms of the monotonic clock
   * @param isCounted whether it counts against the rate of its client
   * @param caller of whose trace the push is a part
   */
  push(
    request: PushRequest,
    answerByMs: number,
    isCounted = true,
    caller?: Caller,
  ): Promise<PushResponse | Rejection> {
    const ttlMs = this.ttlMsOf(request);
    const startedMs = performance.now();
    const waitMs = this.admit(request, startedMs, answerByMs, isCounted);
    if (typeof waitMs !== 'number') return Promise.resolve(this.rejected(waitMs));
    const trace = this.#traces.begin(request, caller, startedMs, ttlMs > 0);
    const push: BegunPush = {
      clientId: request.clientId,
      payloadBytes: request.payload.length,
      isDurable: ttlMs > 0,
      required: requiredLevelOf(request, this.config.acceptLevel),
      awaitsAck: request.waitFor === WaitFor.WAIT_FOR_ACKED,
      startedMs,
      untilMs: startedMs + waitMs,
      trace,
      outcome: undefined,
    };
    const querying =
      ttlMs > 0 ? this.#storeAndPublish(push, request, ttlMs) : this.#publish(push, request);
    return querying.then((answers) => {
      const answered = this.#answeredOf(push, answers);
      return answered instanceof Promise
        ? answered.then((later) => this.#onAnswered(push, later))
        : this.#onAnswered(push, answered);
    });
  }

  #onAnswered(push: BegunPush, answered: Answered | Rejection): PushResponse | Rejection {
    const { startedMs, trace } = push;
    if ('code' in answered) {
      trace?.onAnswered(answered);
      return this.rejected(answered);
    }
    const { response } = answered;
    trace?.onAnswered(response);
    const nowMs = this.onVerdict(response.verdict, startedMs);
    this.remember(push, answered, startedMs, nowMs);
    return response;
  }

  /** Remembers a push to one client for operators. Times are in ms of the monotonic clock. */
  remember(push: PushedTo, answered: Answered, startedMs: number, nowMs: number): void {
    this.slowPushes.onVerdict(push, answered, startedMs, nowMs);
    this.recentPushes.onVerdict(push, answered.response, startedMs, nowMs);
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
    return this.rejectRate(request.clientId, nowMs) ?? waitMs;
  }

  /** Counts a push against the rate of its client, or returns why it is rejected. */
  rejectRate(clientId: string, nowMs: number): Rejection | undefined {
    return this.#rates.reject(clientId, nowMs);
  }

  /** Counts the verdict of pushes that were begun at `startedMs`, and returns the time now. */
  onVerdict(verdict: Verdict, startedMs: number, count = 1): number {
    const nowMs = performance.now();
    const seconds = (nowMs - startedMs) / 1_000;
    for (let i = 0; i < count; i++) this.#seconds.observe(seconds);
    this.#verdicts.get(verdict)!.inc(count);
    return nowMs;
  }

  /** Sends the durable pushes of this turn to a channel, before another message on it. */
  sendBefore(channel: string): void {
    if (!this.#batches.areSent) this.#batches.sendBefore(channel);
  }

  #publish(push: BegunPush, request: PushRequest): Promise<QueryResult | Rejection> {
    this.sendBefore(this.shardQueries.channelOf(push.clientId));
    return this.#query(push, request, 0, push.untilMs - push.startedMs);
  }

  #storeAndPublish(
    push: BegunPush,
    request: PushRequest,
    ttlMs: number,
  ): Promise<QueryResult | Rejection> {
    const waitMs = push.untilMs - performance.now();
    return this.#query(push, request, ttlMs, waitMs, (channel, envelope, onSent) => {
      const { clientId, payload, contentType, idempotencyKey, notifyUnreadAfterMs } = request;
      const combination = combinationOf(request);
      const stored: StorePush = {
        channel,
        clientId,
        envelope,
        payload,
        contentType,
        ttlMs,
        idempotencyKey,
        combination,
        notifyUnreadAfterMs,
      };
      this.#store(push, stored, this.#onStoredOf(push, channel, onSent));
    });
  }

  /** A function of its own, so that what it returns does not refer to the payload. */
  #onStoredOf(push: BegunPush, channel: string, onSent: (result: SendResult) => void) {
    return (outcome: StoreOutcome) => {
      push.outcome = outcome;
      onSent(this.#sendResultOf(channel, push.clientId, outcome));
    };
  }

  /** Resolves later only where the confirmation of the device is awaited. */
  #answeredOf(
    push: BegunPush,
    answers: QueryResult | Rejection,
  ): Answered | Rejection | Promise<Answered | Rejection> {
    if ('code' in answers) return answers;
    const { isDurable, required, awaitsAck, outcome } = push;
    if (!isDurable) {
      return { response: responseOf(verdictOfLive(answers)), answers, confirmingMs: 0 };
    }
    if (outcome?.type === 'unavailable') {
      return rejection('ACCEPT_LEVEL_UNAVAILABLE', outcome.reason);
    }
    if (outcome?.type !== 'stored') {
      // Redis did not answer in time. Replies of edges prove the write, but no higher accept level.
      const verdict = required === undefined ? verdictOfDurable(answers, false) : VERDICT_UNKNOWN;
      return { response: responseOf(verdict), answers, confirmingMs: 0 };
    }
    const { stored, isConfirmed } = outcome;
    if (stored.type === 'invalid') return rejection(stored.code, COMBINATION_REASONS[stored.code]);
    const messageId = stored.type === 'stored' ? stored.id : stored.firstId;
    const replacedId = (stored.type === 'stored' && stored.replacedId) || '';
    if (!isConfirmed) {
      const response = responseOf(VERDICT_UNKNOWN, messageId, ACCEPT_LEVEL_ACCEPTED, replacedId);
      return { response, answers, confirmingMs: 0 };
    }
    const acceptLevel = required?.level ?? ACCEPT_LEVEL_ACCEPTED;
    const verdict =
      stored.type === 'stored' ? verdictOfDurable(answers, true) : Verdict.VERDICT_DUPLICATE;
    const response = responseOf(verdict, messageId, acceptLevel, replacedId);
    const answered = { response, answers, confirmingMs: 0 };
    return awaitsAck ? this.#whenAcked(push, answered) : answered;
  }

  /** The same with the verdict after the confirmation of the device, if that arrives in time. */
  async #whenAcked(push: BegunPush, { response, answers }: Answered): Promise<Answered> {
    const { clientId, untilMs, trace } = push;
    const fromMs = performance.now();
    const channel = this.shardQueries.channelOf(clientId);
    const acked = await this.#ackVerdictBy(untilMs, channel, clientId, response.messageId, trace);
    const confirmingMs = performance.now() - fromMs;
    return { response: { ...response, verdict: acked ?? response.verdict }, answers, confirmingMs };
  }

  #sendResultOf(channel: string, clientId: string, outcome: StoreOutcome): SendResult {
    if (outcome.type === 'unavailable') return { type: 'decided' };
    if (outcome.type === 'unknown') this.counted.stored.onUnanswered();
    if (outcome.type !== 'stored') return outcome;
    const { stored } = outcome;
    if (stored.type !== 'stored') return { type: 'decided' };
    this.onStored(channel, clientId, stored.id, stored.dropped);
    if (stored.replacedId !== undefined) this.#replaced.inc();
    return { type: 'published', receivers: stored.receivers };
  }

  /**
   * Polls Redis, as the device may confirm to any edge. Undefined: it has not confirmed in time.
   */
  async #ackVerdictBy(
    untilMs: number,
    channel: string,
    clientId: string,
    messageId: string,
    trace: PushTrace | undefined,
  ): Promise<Verdict | undefined> {
    for (let polls = 1; ; polls++) {
      trace?.flight?.onPoll();
      const fate = await readFate(this.#link, channel, clientId, messageId);
      if (fate === 'replaced') return Verdict.VERDICT_REPLACED;
      const acked = fate === 'acked';
      const endMs = Math.min(untilMs, this.shardQueries.waitsEndAtMs);
      const isLast = performance.now() + ACK_POLL_MS > endMs;
      // A confirmation of a later push covers one that was skipped as well.
      if (acked || isLast || polls % POLLS_PER_SKIPPED === 0) {
        const skipped = await isSkipped(this.#link, channel, clientId, messageId);
        if (skipped) return Verdict.VERDICT_SKIPPED;
      }
      if (acked) {
        trace?.flight?.onConfirmed();
        return Verdict.VERDICT_ACKED;
      }
      if (isLast) return undefined;
      await sleep(ACK_POLL_MS);
    }
  }

  #store(
    { required, untilMs }: BegunPush,
    push: StorePush,
    onStored: (outcome: StoreOutcome) => void,
  ): void {
    if (required !== undefined) {
      void this.#writers.store(push, required, untilMs).then(onStored);
    } else {
      this.#batches.store(push, onStored);
    }
  }

  #query(
    { trace }: BegunPush,
    request: PushRequest,
    ttlMs: number,
    waitMs: number,
    send?: SendEnvelope,
  ): Promise<QueryResult | Rejection> {
    const { clientId, payload, contentType, waitFor, whenSlow } = request;
    const { collapseKey, appendTo, appendEnd } = request;
    const value: PushBody = {
      payload,
      contentType,
      ttlMs,
      whenSlow,
      trace: trace?.body,
      appendTo,
      appendEnd,
      collapsible: collapseKey !== '',
      clientIds: NO_CLIENTS,
      shards: NO_NUMBERS,
      clientCounts: NO_NUMBERS,
    };
    const body = { $case: 'push', value } as const;
    const isFinal = waitFor === WaitFor.WAIT_FOR_STORED ? null : isFinalForPush;
    return this.shardQueries.query(clientId, body, waitMs, isFinal, send, trace);
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

  /** @param dropped older pushes of the inbox that were dropped for this one */
  onStored(channel: string, clientId: string, id: string, dropped: number): void {
    this.#storedPushes.onStored(channel, clientId, id);
    this.counted.stored.add(this.shardQueries.shardOf(clientId), 1);
    if (dropped > 0) this.#dropped.inc(dropped);
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

export function responseOf(
  verdict: Verdict,
  messageId = '',
  acceptLevel = ACCEPT_LEVEL_UNSPECIFIED,
  replacedId = '',
): PushResponse {
  return { verdict, messageId, acceptLevel, replacedId, flightRecord: undefined };
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
