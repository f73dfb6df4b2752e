/**
 * A backend as users should write it: every durable push has an idempotency key, and is retried
 * with the same key, through any router, until a router answers that it is stored.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { backoffMs } from '../../common/process/backoff.js';
import { AcceptLevel } from '../../proto/gen/longline/v1/push.js';
import { pick, type Random } from '../faults/random.js';
import type { Attempt, HistoryInProgress, Push, PushLevel } from '../history/history.js';
import { isAccepted } from '../history/history-index.js';
import { ManyBackend } from './many-backend.js';
import { digestOf, makePayload } from './payload.js';
import { RouterStream } from './router-stream.js';

export interface BackendOptions {
  /** `host:port` of every router's gRPC. */
  readonly routers: readonly string[];
  readonly history: HistoryInProgress;
  readonly random: Random;
  readonly acceptLevels: readonly PushLevel[];
  /** Number of the first push. */
  readonly firstNumber: number;
  /** Prefix of the idempotency keys, different for each run. */
  readonly runId: string;
}

/**
 * No push may expire during the drill, also by a clock that is set by two hours: it would look
 * lost.
 */
const TTL_MS = 4 * 60 * 60 * 1000;
/** Retries of all undecided pushes must not overload a Redis that has just recovered. */
const BACKOFF_MS_MAX = 2_000;
/** Bounds memory while Redis is down; more than the pushes of a few seconds. */
const UNDECIDED_MAX = 20_000;

/** Parts of a growing message. */
const PARTS = 12;

interface GrowingMessage {
  readonly key: string;
  /** Number of parts that were sent. */
  parts: number;
  isBusy: boolean;
}

const ACCEPT_LEVELS: Readonly<Record<PushLevel | 'unspecified', AcceptLevel>> = {
  unspecified: AcceptLevel.ACCEPT_LEVEL_UNSPECIFIED,
  accepted: AcceptLevel.ACCEPT_LEVEL_ACCEPTED,
  fsynced: AcceptLevel.ACCEPT_LEVEL_FSYNCED,
  replicated: AcceptLevel.ACCEPT_LEVEL_REPLICATED,
};

export class Backend {
  readonly #options: BackendOptions;
  readonly #streams: readonly RouterStream[];
  readonly #many: ManyBackend;
  readonly #sweepTimer: NodeJS.Timeout;
  /** Growing messages by clientId. */
  readonly #messages = new Map<string, GrowingMessage>();
  #undecided = 0;
  #isClosed = false;

  constructor(options: BackendOptions) {
    this.#options = options;
    this.#streams = options.routers.map((address) => new RouterStream(address, options.random));
    this.#many = new ManyBackend(options, TTL_MS);
    this.#sweepTimer = setInterval(() => {
      for (const stream of this.#streams) stream.sweep(performance.now());
    }, 1_000);
  }

  /** Durable pushes that no router has acknowledged as stored yet. */
  get undecided(): number {
    return this.#undecided + this.#many.undecided;
  }

  /** Sends one durable push to these clients, and retries it until it is stored for all. */
  pushMany(clientIds: readonly string[], bytesMin: number): void {
    if (this.undecided < UNDECIDED_MAX) void this.#many.push(clientIds, bytesMin);
  }

  /** Sends a push; a durable one is retried until it is stored. */
  push(clientId: string, isDurable: boolean, bytesMin: number): void {
    if (this.#undecided >= UNDECIDED_MAX) return;
    const { history, firstNumber } = this.#options;
    const number = history.pushes.length + firstNumber;
    const payload = makePayload({ clientId, number }, bytesMin);
    const digest = digestOf(payload);
    const { random, acceptLevels } = this.#options;
    const level = isDurable ? pick(random, acceptLevels) : undefined;
    const collapseKey = isDurable && number % 8 === 0 ? `key-${number % 3}` : '';
    const message = isDurable && number % 8 === 1 ? this.#messageOf(clientId, number) : undefined;
    const appendTo = message?.key ?? '';
    const common = { number, clientId, isDurable, level, digest, collapseKey, appendTo };
    const push: Push = { ...common, attempts: [] };
    history.pushes.push(push);
    if (message !== undefined) void this.#pushPart(message, push, payload);
    else if (isDurable) void this.#pushDurable(push, payload);
    else void this.#attempt(push, payload, pick(this.#options.random, this.#streams));
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#sweepTimer);
    for (const stream of this.#streams) stream.close();
    this.#many.close();
  }

  /** Undefined while a part of the message is not accepted: the next one must come after it. */
  #messageOf(clientId: string, number: number): GrowingMessage | undefined {
    const known = this.#messages.get(clientId);
    if (known?.isBusy) return undefined;
    const message = known ?? { key: `message-${number}`, parts: 0, isBusy: false };
    this.#messages.set(clientId, message);
    return message;
  }

  async #pushPart(message: GrowingMessage, push: Push, payload: Buffer): Promise<void> {
    message.isBusy = true;
    const isEnd = ++message.parts === PARTS;
    await this.#pushDurable(push, payload, isEnd);
    message.isBusy = false;
    if (isEnd) this.#messages.delete(push.clientId);
  }

  async #pushDurable(push: Push, payload: Buffer, appendEnd = false): Promise<void> {
    const { random } = this.#options;
    this.#undecided++;
    for (let failures = 1; !this.#isClosed; failures++) {
      const to = pick(random, this.#streams);
      const attempt = await this.#attempt(push, payload, to, appendEnd);
      if (attempt !== undefined && isAccepted(attempt)) break;
      await sleep(backoffMs(failures, BACKOFF_MS_MAX, random));
    }
    this.#undecided--;
  }

  /** Resolves with undefined when the router cannot be reached: then there was no attempt. */
  async #attempt(
    push: Push,
    payload: Buffer,
    to: RouterStream,
    appendEnd = false,
  ): Promise<Attempt | undefined> {
    const answer = to.push({
      clientId: push.clientId,
      payload,
      collapseKey: push.collapseKey,
      appendTo: push.appendTo,
      appendEnd,
      acceptLevel: ACCEPT_LEVELS[push.level ?? 'unspecified'],
      ttlMs: push.isDurable ? TTL_MS : 0,
      idempotencyKey: push.isDurable ? `${this.#options.runId}:${push.number}` : '',
    });
    if (answer === undefined) return undefined;
    const attempt: Attempt = {
      router: to.address,
      sentAtMs: performance.now(),
      endedAtMs: Number.POSITIVE_INFINITY,
      outcome: undefined,
      messageId: '',
      replacedId: '',
      detail: '',
    };
    push.attempts.push(attempt);
    return Object.assign(attempt, await answer, { endedAtMs: performance.now() });
  }
}
