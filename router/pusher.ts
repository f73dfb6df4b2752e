/** What the Push API does, free of gRPC: validate, ask the edges, say what became of it. */
import type { Counter, Histogram } from 'prom-client';
import type { Asker } from '../common/ask.js';
import { refuseClientId } from '../common/client-id.js';
import { type Refusal, refusal } from '../common/errors.js';
import type { Metrics } from '../common/metrics.js';
import {
  type DisconnectResponse,
  type GetPresenceResponse,
  type PushRequest,
  type PushResponse,
  Verdict,
} from '../proto/gen/longline/v1/push.js';
import { isFinalForPush, verdictOf } from './verdict.js';

/** A caller that wants to wait longer than this is told so. */
const WAIT_MS_MAX = 60_000;

export class Pusher {
  readonly #verdicts: Counter<'verdict'>;
  readonly #refused: Counter<'code'>;
  readonly #seconds: Histogram;

  constructor(
    readonly asker: Asker,
    readonly config: { readonly waitMs: number; readonly payloadBytesMax: number },
    metrics: Metrics,
  ) {
    this.#verdicts = metrics.counter('longline_router_pushes_total', 'Pushes by verdict.', [
      'verdict',
    ]);
    this.#refused = metrics.counter(
      'longline_router_requests_refused_total',
      'Requests of backends that were refused, by error code.',
      ['code'],
    );
    this.#seconds = metrics.histogram(
      'longline_router_push_seconds',
      'From the request to the verdict.',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    );
  }

  async push(request: PushRequest): Promise<PushResponse | Refusal> {
    const refused = this.#refuse(request);
    if (refused !== undefined) return this.#counted(refused);
    const stop = this.#seconds.startTimer();
    const answers = await this.asker.ask(
      request.clientId,
      { $case: 'push', value: { payload: request.payload } },
      request.waitMs === 0 ? this.config.waitMs : request.waitMs,
      isFinalForPush,
    );
    if ('code' in answers) return this.#counted(answers);
    stop();
    const verdict = verdictOf(answers);
    this.#verdicts.inc({ verdict: Verdict[verdict] });
    return { verdict, messageId: '' };
  }

  async presence(clientId: string): Promise<GetPresenceResponse | Refusal> {
    const refused = refuseClientId(clientId);
    if (refused !== undefined) return this.#counted(refused);
    const found = await this.asker.askPresence(clientId);
    return 'code' in found ? this.#counted(found) : found;
  }

  async disconnect(clientId: string): Promise<DisconnectResponse | Refusal> {
    const refused = refuseClientId(clientId);
    if (refused !== undefined) return this.#counted(refused);
    const body = { $case: 'disconnect', value: {} } as const;
    const answers = await this.asker.ask(clientId, body, this.config.waitMs, () => false);
    if ('code' in answers) return this.#counted(answers);
    const closed = answers.bodies.filter((answer) => answer.$case === 'closed').length;
    return { closed, complete: answers.complete };
  }

  #refuse(request: PushRequest): Refusal | undefined {
    const { payloadBytesMax } = this.config;
    if (request.payload.length > payloadBytesMax) {
      const why = `a payload has at most ${payloadBytesMax} bytes, this one ${request.payload.length}`;
      return refusal('PAYLOAD_TOO_LARGE', why);
    }
    if (request.waitMs > WAIT_MS_MAX) {
      return refusal('REQUEST_MALFORMED', `wait_ms is at most ${WAIT_MS_MAX}`);
    }
    return refuseClientId(request.clientId);
  }

  #counted(refused: Refusal): Refusal {
    this.#refused.inc({ code: refused.code });
    return refused;
  }
}
