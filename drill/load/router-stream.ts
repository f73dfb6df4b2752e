/**
 * One PushStream to one router, reopened whenever it ends. Its unanswered pushes then have the
 * outcome `UNANSWERED`: the router may have stored them, and the caller has to retry.
 */
import {
  type ChannelCredentials,
  type ClientDuplexStream,
  credentials,
  Metadata,
} from '@grpc/grpc-js';
import { backoffMs } from '../../common/process/backoff.js';
import { LINK_OPTIONS } from '../../common/process/grpc-link.js';
import {
  PushRequest,
  PushServiceClient,
  type PushStreamRequest,
  type PushStreamResponse,
  type PushStreamResult,
  Verdict,
} from '../../proto/gen/longline/v1/push.js';
import type { Random } from '../faults/random.js';
import type { PushOutcome } from '../history/history.js';

export interface Answer {
  readonly outcome: PushOutcome;
  readonly messageId: string;
  readonly replacedId: string;
  readonly detail: string;
}

const NO_IDS = { messageId: '', replacedId: '' };

/** How a backend reaches a router, and what it presents. */
export interface RouterAccess {
  readonly credentials: ChannelCredentials;
  readonly metadata: Metadata;
}

interface Waiting {
  readonly sinceMs: number;
  readonly answer: (answer: Answer) => void;
}

/** Routers answer within two seconds, plus two for Redis. */
const ANSWER_MS_MAX = 10_000;

/** The load of a drill must be back soon after a router is. */
const BACKOFF_MS_MAX = 800;

/** The only error code that leaves open whether the push was stored. */
const CODE_INTERNAL = 'INTERNAL';

export class RouterStream {
  readonly #client: PushServiceClient;
  #call: ClientDuplexStream<PushStreamRequest, PushStreamResponse> | undefined;
  /** Pushes of the current call by correlation id, oldest first. */
  #waiting = new Map<string, Waiting>();
  #lastCorrelationId = 0;
  #failures = 0;
  #isClosed = false;
  readonly #random: Random;
  readonly #metadata: Metadata;
  /** Why the stream is down; undefined once it has answered. */
  problem: string | undefined;

  /** @param address `host:port` of the router's gRPC */
  constructor(
    readonly address: string,
    random: Random,
    access: RouterAccess = { credentials: credentials.createInsecure(), metadata: new Metadata() },
  ) {
    this.#random = random;
    this.#metadata = access.metadata;
    this.#client = new PushServiceClient(address, access.credentials, LINK_OPTIONS);
    this.#open();
  }

  /** Returns undefined while the stream is down: the push was not sent. */
  push(request: Partial<PushRequest>): Promise<Answer> | undefined {
    const call = this.#call;
    if (call === undefined) return undefined;
    const correlationId = `${++this.#lastCorrelationId}`;
    return new Promise((answer) => {
      this.#waiting.set(correlationId, { sinceMs: performance.now(), answer });
      call.write({ items: [{ correlationId, push: PushRequest.fromPartial(request) }] });
    });
  }

  /** Cancels a call without answers. To be called about once a second. */
  sweep(nowMs: number): void {
    const [oldest] = this.#waiting.values();
    if (oldest !== undefined && nowMs - oldest.sinceMs > ANSWER_MS_MAX) this.#call?.cancel();
  }

  close(): void {
    this.#isClosed = true;
    this.#call?.cancel();
    this.#client.close();
  }

  #open(): void {
    if (this.#isClosed) return;
    const call = this.#client.pushStream(this.#metadata);
    this.#call = call;
    call.on('data', ({ results }: PushStreamResponse) => {
      this.#failures = 0;
      this.problem = undefined;
      for (const result of results) this.#onResult(result);
    });
    // `end` follows an `error`; the first of them counts.
    call.on('error', ({ message }) => {
      this.problem = message;
      this.#onEnd(call);
    });
    call.on('end', () => this.#onEnd(call));
  }

  #onResult(result: PushStreamResult): void {
    const waiting = this.#waiting.get(result.correlationId);
    this.#waiting.delete(result.correlationId);
    waiting?.answer(answerOf(result));
  }

  #onEnd(call: ClientDuplexStream<PushStreamRequest, PushStreamResponse>): void {
    if (this.#call !== call) return;
    this.#call = undefined;
    const unanswered = this.#waiting;
    this.#waiting = new Map();
    for (const { answer } of unanswered.values()) {
      answer({ ...NO_IDS, outcome: 'UNANSWERED', detail: 'the stream ended' });
    }
    setTimeout(() => this.#open(), backoffMs(++this.#failures, BACKOFF_MS_MAX, this.#random));
  }
}

function answerOf({ outcome }: PushStreamResult): Answer {
  if (outcome?.$case === 'push') {
    const { verdict, messageId, replacedId } = outcome.value;
    const name = Verdict[verdict].replace('VERDICT_', '') as PushOutcome;
    return { outcome: name, messageId, replacedId, detail: '' };
  }
  const { code, message } = outcome?.value ?? {
    code: CODE_INTERNAL,
    message: 'a result without an outcome',
  };
  const isRejected = code !== CODE_INTERNAL;
  const detail = `${code}: ${message}`;
  return { ...NO_IDS, outcome: isRejected ? 'REJECTED' : 'UNANSWERED', detail };
}
