/**
 * A backend as we would like them to be: every durable push has an idempotency key, and is sent
 * again with it, by any router, until somebody says that it is stored.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { backoffMs } from '../../common/process/backoff.js';
import { AcceptLevel } from '../../proto/gen/longline/v1/push.js';
import { pick, type Random } from '../faults/random.js';
import type { Attempt, HistoryInProgress, Push } from '../history/history.js';
import { isAccepted } from '../history/history-index.js';
import { digestOf, makePayload } from './payload.js';
import { RouterStream } from './router-stream.js';

export interface BackendOptions {
  /** `host:port` of every router's gRPC. */
  readonly routers: readonly string[];
  readonly history: HistoryInProgress;
  readonly random: Random;
  readonly acceptLevels: readonly AcceptLevel[];
  /** Makes the idempotency keys of one run different from those of another. */
  readonly runId: string;
}

/** Nothing may expire while the drill runs: what does not come was lost. */
const TTL_MS = 60 * 60 * 1000;
/** Retries of everything that Redis owes an answer to must not be what keeps it from answering. */
const BACKOFF_MS_MAX = 2_000;
/** Bounds memory while Redis is away; more than a few seconds' worth of pushes. */
const UNDECIDED_MAX = 20_000;

export class Backend {
  readonly #options: BackendOptions;
  readonly #streams: readonly RouterStream[];
  readonly #sweeping: NodeJS.Timeout;
  /** Durable pushes of which nobody has said yet that they are stored. */
  #undecided = 0;
  #isClosed = false;

  constructor(options: BackendOptions) {
    this.#options = options;
    this.#streams = options.routers.map((address) => new RouterStream(address, options.random));
    this.#sweeping = setInterval(() => {
      for (const stream of this.#streams) stream.sweep(performance.now());
    }, 1_000);
  }

  get undecided(): number {
    return this.#undecided;
  }

  /** Pushes once, and a durable push again until it is stored. */
  push(clientId: string, isDurable: boolean, bytesMin: number): void {
    if (this.#undecided >= UNDECIDED_MAX) return;
    const { history } = this.#options;
    const number = history.pushes.length + 1;
    const payload = makePayload({ clientId, number }, bytesMin);
    const digest = digestOf(payload);
    const push: Push = { number, clientId, isDurable, digest, attempts: [] };
    history.pushes.push(push);
    if (isDurable) void this.#pushDurable(push, payload);
    else void this.#attempt(push, payload, pick(this.#options.random, this.#streams));
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#sweeping);
    for (const stream of this.#streams) stream.close();
  }

  async #pushDurable(push: Push, payload: Buffer): Promise<void> {
    const { random, acceptLevels } = this.#options;
    this.#undecided++;
    const acceptLevel = pick(random, acceptLevels);
    for (let tries = 1; !this.#isClosed; tries++) {
      const attempt = await this.#attempt(push, payload, pick(random, this.#streams), acceptLevel);
      if (attempt !== undefined && isAccepted(attempt)) break;
      await sleep(backoffMs(tries, BACKOFF_MS_MAX, random));
    }
    this.#undecided--;
  }

  /** Resolves with undefined when the router cannot be reached: it was not attempted. */
  async #attempt(
    push: Push,
    payload: Buffer,
    to: RouterStream,
    acceptLevel = AcceptLevel.ACCEPT_LEVEL_UNSPECIFIED,
  ): Promise<Attempt | undefined> {
    const answering = to.push({
      clientId: push.clientId,
      payload,
      acceptLevel,
      ttlMs: push.isDurable ? TTL_MS : 0,
      idempotencyKey: push.isDurable ? `${this.#options.runId}:${push.number}` : '',
    });
    if (answering === undefined) return undefined;
    const attempt: Attempt = {
      router: to.address,
      sentAtMs: performance.now(),
      endedAtMs: Number.POSITIVE_INFINITY,
      outcome: undefined,
      messageId: '',
      detail: '',
    };
    push.attempts.push(attempt);
    return Object.assign(attempt, await answering, { endedAtMs: performance.now() });
  }
}
