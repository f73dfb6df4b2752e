/** Durable pushes at a fixed rate, each with a number, and what became of them. */
import { once } from 'node:events';
import type { PushServiceClient, PushStreamResponse } from '../../proto/gen/longline/v1/push.js';
import { PushRequest, Verdict } from '../../proto/gen/longline/v1/push.js';
import { nowUs } from '../support/clock.js';

/** Far longer than a failover. */
const TTL_MS = 10 * 60 * 1_000;
const TICK_MS = 5;

const ACCEPTED: ReadonlySet<Verdict> = new Set([
  Verdict.VERDICT_WRITTEN,
  Verdict.VERDICT_STORED,
  Verdict.VERDICT_ACKED,
  Verdict.VERDICT_DUPLICATE,
]);

export class NumberedPushes {
  /** By number: the client. */
  readonly sent: string[] = [];
  /** Numbers of the pushes that were accepted as durable. */
  readonly accepted: number[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #call;
  readonly #ended: Promise<unknown>;

  constructor(service: PushServiceClient, clientIds: readonly string[], perSecond: number) {
    this.#call = service.pushStream();
    this.#call.on('data', ({ results }: PushStreamResponse) => {
      for (const { correlationId, outcome } of results) {
        if (outcome?.$case !== 'push' || !ACCEPTED.has(outcome.value.verdict)) continue;
        this.accepted.push(Number(correlationId));
      }
    });
    this.#ended = once(this.#call, 'end');
    // `once` rejects when the stream fails; `stop` throws that error.
    this.#ended.catch(() => {});
    const startUs = nowUs();
    this.#timer = setInterval(() => {
      const due = Math.floor(((nowUs() - startUs) / 1e6) * perSecond) - this.sent.length;
      if (due > 0)
        this.#call.write({ items: Array.from({ length: due }, () => this.#next(clientIds)) });
    }, TICK_MS);
  }

  /** Resolves when every push has its verdict. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#call.end();
    await this.#ended;
  }

  #next(clientIds: readonly string[]) {
    const number = this.sent.length;
    const clientId = clientIds[number % clientIds.length]!;
    this.sent.push(clientId);
    const payload = Buffer.from(`${number}`);
    return {
      correlationId: `${number}`,
      push: PushRequest.create({ clientId, payload, ttlMs: TTL_MS }),
    };
  }
}
