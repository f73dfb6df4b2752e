/** What the Push API does, free of gRPC: validate, ask the edges, say what became of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Counter, Histogram } from 'prom-client';
import { isAcked, type StorePush, storePush } from '../../common/cluster/inbox.js';
import type { Answers, Send, ShardQueries } from '../../common/cluster/shard-query.js';
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
import type { RouterConfig } from '../config.js';
import { ClientRates } from './client-rates.js';
import type { SafelyStored, Safety, SafeWriters } from './safe-writer.js';
import { isFinalForPush, verdictOfDurable, verdictOfLive } from './verdict.js';

/** A caller that wants to wait longer than this is told so. */
const WAIT_MS_MAX = 60_000;

/** How often it is looked whether a device has confirmed a push that waits for it. */
const ACK_LOOK_MS = 100;
const IDEMPOTENCY_KEY_BYTES_MAX = 128;
const CONTENT_TYPE = /^[\x20-\x7e]{0,128}$/;

export type PusherConfig = Pick<
  RouterConfig,
  | 'waitMs'
  | 'payloadBytesMax'
  | 'ttlDefaultMs'
  | 'ttlMaxMs'
  | 'inbox'
  | 'safety'
  | 'clientPushesPerSecondMax'
>;

const { VERDICT_UNKNOWN } = Verdict;
const { ACCEPT_LEVEL_UNSPECIFIED, ACCEPT_LEVEL_ACCEPTED, ACCEPT_LEVEL_REPLICATED } = AcceptLevel;

export class Pusher {
  readonly #dropped: Counter;
  /** Bound to their labels: looking them up takes longer than counting. */
  readonly #verdicts: ReadonlyMap<Verdict, Counter.Internal>;
  readonly #rejected: Counter<'code'>;
  readonly #seconds: Histogram;
  readonly #rates: ClientRates;

  constructor(
    readonly shardQueries: ShardQueries,
    readonly link: Pick<RedisLink, 'execute'>,
    readonly writers: SafeWriters,
    readonly config: PusherConfig,
    metrics: Metrics,
  ) {
    this.#rates = new ClientRates(config.clientPushesPerSecondMax);
    const pushes = metrics.counter('longline_router_pushes_total', 'Pushes by verdict.', [
      'verdict',
    ]);
    const verdicts = Object.values(Verdict).filter((verdict) => typeof verdict === 'number');
    this.#verdicts = new Map(
      verdicts.map((verdict) => [verdict, pushes.labels({ verdict: Verdict[verdict]! })]),
    );
    this.#rejected = metrics.counter(
      'longline_router_requests_rejected_total',
      'Requests of backends that were rejected, by error code.',
      ['code'],
    );
    this.#dropped = metrics.counter(
      'longline_router_inbox_dropped_total',
      'Stored pushes that expired, or had to go because an inbox was at its bound.',
    );
    this.#seconds = metrics.histogram(
      'longline_router_push_seconds',
      'From the request to the verdict.',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    );
  }

  // Not async, as little as what it calls for a live push: a push pays for each promise.
  push(request: PushRequest): Promise<PushResponse | Rejection> {
    const ttlMs = request.ttlMs ?? this.config.ttlDefaultMs;
    const rejected = this.#reject(request, ttlMs);
    if (rejected !== undefined) return Promise.resolve(this.rejected(rejected));
    const startedMs = performance.now();
    const limited = this.#rates.reject(request.clientId, startedMs);
    if (limited !== undefined) return Promise.resolve(this.rejected(limited));
    const responding = ttlMs === 0 ? this.#pushLive(request) : this.#pushDurable(request, ttlMs);
    return responding.then((response) => {
      if ('code' in response) return this.rejected(response);
      this.#seconds.observe((performance.now() - startedMs) / 1_000);
      this.#verdicts.get(response.verdict)!.inc();
      return response;
    });
  }

  #pushLive(request: PushRequest): Promise<PushResponse | Rejection> {
    return this.#ask(request, 0).then((answers) => {
      if ('code' in answers) return answers;
      const verdict = verdictOfLive(answers);
      return { verdict, messageId: '', acceptLevel: ACCEPT_LEVEL_UNSPECIFIED };
    });
  }

  async #pushDurable(request: PushRequest, ttlMs: number): Promise<PushResponse | Rejection> {
    const { clientId, payload, contentType, idempotencyKey } = request;
    const tag = this.shardQueries.tagOf(clientId);
    const startedMs = performance.now();
    const safety = safetyOf(request, this.config.safety);
    let storing: SafelyStored | undefined;
    const answers = await this.#ask(request, ttlMs, async (_channel, envelope) => {
      const push = { tag, clientId, envelope, payload, contentType, ttlMs, idempotencyKey };
      storing = await this.#store(push, safety);
      if (storing.type === 'impossible') return { type: 'settled' };
      if (storing.type !== 'stored') return storing;
      const { stored } = storing;
      if (stored.type === 'duplicate') return { type: 'settled' };
      if (stored.dropped > 0) this.#dropped.inc(stored.dropped);
      if (request.waitFor === WaitFor.WAIT_FOR_STORED) return { type: 'settled' };
      return { type: 'published', receivers: stored.receivers };
    });
    if ('code' in answers) return answers;
    if (storing?.type === 'impossible')
      return rejection('ACCEPT_LEVEL_UNAVAILABLE', storing.reason);
    if (storing?.type !== 'stored') {
      // Redis did not answer in time. Whatever the edges say, nothing was confirmed beyond that.
      const verdict = safety === undefined ? verdictOfDurable(answers, false) : VERDICT_UNKNOWN;
      return { verdict, messageId: '', acceptLevel: ACCEPT_LEVEL_UNSPECIFIED };
    }
    const { stored, isSafe } = storing;
    const messageId = stored.type === 'stored' ? stored.id : stored.firstId;
    if (!isSafe) {
      return { verdict: VERDICT_UNKNOWN, messageId, acceptLevel: ACCEPT_LEVEL_ACCEPTED };
    }
    const acceptLevel = safety?.level ?? ACCEPT_LEVEL_ACCEPTED;
    if (request.waitFor === WaitFor.WAIT_FOR_ACKED) {
      const waitMs = this.#waitMs(request) - (performance.now() - startedMs);
      if (await this.#isAckedWithin(waitMs, tag, clientId, messageId)) {
        return { verdict: Verdict.VERDICT_ACKED, messageId, acceptLevel };
      }
    }
    const verdict =
      stored.type === 'stored' ? verdictOfDurable(answers, true) : Verdict.VERDICT_DUPLICATE;
    return { verdict, messageId, acceptLevel };
  }

  /** The device may confirm to any edge: what all of them write to is asked. */
  async #isAckedWithin(
    waitMs: number,
    tag: string,
    clientId: string,
    messageId: string,
  ): Promise<boolean> {
    const giveUpMs = performance.now() + waitMs;
    while (!(await isAcked(this.link, tag, clientId, messageId))) {
      if (performance.now() + ACK_LOOK_MS > giveUpMs) return false;
      await sleep(ACK_LOOK_MS);
    }
    return true;
  }

  #store(push: StorePush, safety: Safety | undefined): Promise<SafelyStored> {
    if (safety !== undefined) return this.writers.store(push, safety);
    return storePush(this.link, push, this.config.inbox).then((outcome) =>
      outcome.type === 'done' ? { type: 'stored', stored: outcome.reply, isSafe: true } : outcome,
    );
  }

  #ask(request: PushRequest, ttlMs: number, send?: Send): Promise<Answers | Rejection> {
    const { payload, contentType } = request;
    const body = { $case: 'push', value: { payload, contentType, ttlMs } } as const;
    return this.shardQueries.ask(
      request.clientId,
      body,
      this.#waitMs(request),
      isFinalForPush,
      send,
    );
  }

  #waitMs(request: PushRequest): number {
    return request.waitMs === 0 ? this.config.waitMs : request.waitMs;
  }

  async presence(clientId: string): Promise<GetPresenceResponse | Rejection> {
    const rejected = rejectClientId(clientId);
    if (rejected !== undefined) return this.rejected(rejected);
    const found = await this.shardQueries.askPresence(clientId);
    return 'code' in found ? this.rejected(found) : found;
  }

  async disconnect(clientId: string): Promise<DisconnectResponse | Rejection> {
    const rejected = rejectClientId(clientId);
    if (rejected !== undefined) return this.rejected(rejected);
    const body = { $case: 'disconnect', value: {} } as const;
    const answers = await this.shardQueries.ask(clientId, body, this.config.waitMs, () => false);
    if ('code' in answers) return this.rejected(answers);
    const closed = answers.bodies.filter((answer) => answer.$case === 'closed').length;
    return { closed, complete: answers.complete };
  }

  #reject(request: PushRequest, ttlMs: number): Rejection | undefined {
    const { payloadBytesMax, ttlMaxMs } = this.config;
    const { waitMs, idempotencyKey } = request;
    const unfit = rejectPayload(request, payloadBytesMax);
    if (unfit !== undefined) return unfit;
    if (waitMs > WAIT_MS_MAX) {
      return rejection('REQUEST_MALFORMED', `wait_ms is at most ${WAIT_MS_MAX}`);
    }
    if (AcceptLevel[request.acceptLevel] === undefined) {
      return rejection('REQUEST_MALFORMED', `accept_level ${request.acceptLevel} is not known`);
    }
    const isForStored =
      request.waitFor === WaitFor.WAIT_FOR_STORED || request.waitFor === WaitFor.WAIT_FOR_ACKED;
    if (WaitFor[request.waitFor] === undefined || (isForStored && ttlMs === 0)) {
      const why = `wait_for ${request.waitFor} is not known, or not for a live-only push`;
      return rejection('REQUEST_MALFORMED', why);
    }
    if (ttlMs > ttlMaxMs) return rejection('TTL_TOO_LONG', `ttl_ms is at most ${ttlMaxMs}`);
    if (Buffer.byteLength(idempotencyKey) > IDEMPOTENCY_KEY_BYTES_MAX) {
      const why = `an idempotency key has at most ${IDEMPOTENCY_KEY_BYTES_MAX} bytes`;
      return rejection('IDEMPOTENCY_KEY_INVALID', why);
    }
    if (idempotencyKey !== '' && ttlMs === 0) {
      const why = 'a live-only push is not stored, so nothing can recognise it again';
      return rejection('IDEMPOTENCY_KEY_INVALID', why);
    }
    return rejectClientId(request.clientId);
  }

  /** Counts a rejection on its way to the caller. */
  rejected(rejected: Rejection): Rejection {
    this.#rejected.inc({ code: rejected.code });
    return rejected;
  }
}

/** Why a payload cannot be passed on, or what is said to be in it. */
export function rejectPayload(
  { payload, contentType }: Pick<PushRequest, 'payload' | 'contentType'>,
  payloadBytesMax: number,
): Rejection | undefined {
  if (payload.length > payloadBytesMax) {
    const why = `a payload has at most ${payloadBytesMax} bytes, this one ${payload.length}`;
    return rejection('PAYLOAD_TOO_LARGE', why);
  }
  if (CONTENT_TYPE.test(contentType)) return undefined;
  return rejection('REQUEST_MALFORMED', 'content_type is at most 128 printable ASCII characters');
}

/** What a push has to be safe against beyond being in Redis; undefined: nothing. */
function safetyOf(request: PushRequest, fallback: Safety | undefined): Safety | undefined {
  const { acceptLevel, replicas } = request;
  switch (acceptLevel) {
    case ACCEPT_LEVEL_UNSPECIFIED:
      return fallback;
    case ACCEPT_LEVEL_ACCEPTED:
      return undefined;
    case ACCEPT_LEVEL_REPLICATED:
      return { level: acceptLevel, replicas: Math.max(1, replicas) };
    default:
      return { level: AcceptLevel.ACCEPT_LEVEL_FSYNCED, replicas: 0 };
  }
}
