/**
 * One PushStream to one router, opened again and again. Pushes of a stream that ended are answered
 * `UNANSWERED`: they may have been done, and it is for the caller to find out.
 */
import { type ClientDuplexStream, credentials } from '@grpc/grpc-js';
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
  readonly detail: string;
}

interface Waiting {
  readonly sinceMs: number;
  readonly answer: (answer: Answer) => void;
}

/** Routers answer within two seconds, and Redis gets two more. */
const ANSWER_MS_MAX = 10_000;

/** The load of a drill must be back soon after a router is. */
const BACKOFF_MS_MAX = 800;

/** The only error that does not say that nothing was done. */
const CODE_OF_A_BUG = 'INTERNAL';

export class RouterStream {
  readonly #client: PushServiceClient;
  #call: ClientDuplexStream<PushStreamRequest, PushStreamResponse> | undefined;
  /** By correlation id, oldest first; all of the current call. */
  #waiting = new Map<number, Waiting>();
  #lastCorrelationId = 0;
  #tries = 0;
  #isClosed = false;
  readonly #random: Random;

  /** @param address `host:port` of the router's gRPC */
  constructor(
    readonly address: string,
    random: Random,
  ) {
    this.#random = random;
    this.#client = new PushServiceClient(address, credentials.createInsecure(), LINK_OPTIONS);
    this.#open();
  }

  /** Undefined when the stream is down at the moment: nothing was sent. */
  push(request: Partial<PushRequest>): Promise<Answer> | undefined {
    const call = this.#call;
    if (call === undefined) return undefined;
    const correlationId = ++this.#lastCorrelationId;
    return new Promise((answer) => {
      this.#waiting.set(correlationId, { sinceMs: performance.now(), answer });
      call.write({ items: [{ correlationId, push: PushRequest.fromPartial(request) }] });
    });
  }

  /** Ends a call that does not answer. To be called about once a second. */
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
    const call = this.#client.pushStream();
    this.#call = call;
    call.on('data', ({ results }: PushStreamResponse) => {
      this.#tries = 0;
      for (const result of results) this.#take(result);
    });
    // An error is followed by an end as well; whichever comes first ends it.
    call.on('error', () => this.#end(call));
    call.on('end', () => this.#end(call));
  }

  #take(result: PushStreamResult): void {
    const waiting = this.#waiting.get(result.correlationId);
    this.#waiting.delete(result.correlationId);
    waiting?.answer(answerOf(result));
  }

  #end(call: ClientDuplexStream<PushStreamRequest, PushStreamResponse>): void {
    if (this.#call !== call) return;
    this.#call = undefined;
    const unanswered = this.#waiting;
    this.#waiting = new Map();
    for (const { answer } of unanswered.values()) {
      answer({ outcome: 'UNANSWERED', messageId: '', detail: 'the stream ended' });
    }
    setTimeout(() => this.#open(), backoffMs(++this.#tries, BACKOFF_MS_MAX, this.#random));
  }
}

function answerOf({ outcome }: PushStreamResult): Answer {
  if (outcome?.$case === 'push') {
    const { verdict, messageId } = outcome.value;
    const word = Verdict[verdict].replace('VERDICT_', '') as PushOutcome;
    return { outcome: word, messageId, detail: '' };
  }
  const { code, message } = outcome?.value ?? { code: CODE_OF_A_BUG, message: 'an empty result' };
  const isRejected = code !== CODE_OF_A_BUG;
  const detail = `${code}: ${message}`;
  return { outcome: isRejected ? 'REFUSED' : 'UNANSWERED', messageId: '', detail };
}
