/** Backend of the benches: pushes to the given clients, round robin, until it is stopped. */
import { once } from 'node:events';
import {
  PushRequest,
  type PushResponse,
  type PushServiceClient,
  type PushStreamResponse,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';
import { nowUs } from '../clock.js';
import { timedPayload } from './timed-payload.js';

export interface RunningLoad {
  /**
   * Resolves when every push has its verdict.
   * @throws Error when a verdict is not WRITTEN
   */
  stop(): Promise<void>;
}

/** Far longer than any push takes on a machine that is merely slow. */
const WAIT_MS = 30_000;
/** Bounds the first frames of a stream; later frames are as large as the results they answer. */
const ITEMS_PER_FRAME_MAX = 256;

export class PushLoad {
  #next = 0;
  #failed = 0;
  #firstFailure = '';

  constructor(
    readonly service: PushServiceClient,
    readonly clientIds: readonly string[],
    /** 0: live-only. Undefined: the router's default, durable. */
    readonly ttlMs: number | undefined,
  ) {}

  /** Unary calls of Push, `concurrency` at a time. */
  unary(concurrency: number): RunningLoad {
    let isStopped = false;
    const caller = async () => {
      while (!isStopped) await this.#call();
    };
    const callers = Promise.all(Array.from({ length: concurrency }, caller));
    return {
      stop: async () => {
        isStopped = true;
        await callers;
        this.#throwIfFailed();
      },
    };
  }

  /** Unary calls of Push at a fixed rate, independent of the verdicts. */
  paceUnary(perSecond: number): RunningLoad {
    const calls = new Set<Promise<void>>();
    const stopTimer = everyDue(perSecond, (due) => {
      for (let i = 0; i < due; i++) {
        const call = this.#call().finally(() => calls.delete(call));
        calls.add(call);
      }
    });
    return {
      stop: async () => {
        stopTimer();
        await Promise.all(calls);
        this.#throwIfFailed();
      },
    };
  }

  /** One stream with `window` pushes in flight: each verdict makes room for the next push. */
  saturate(window: number): RunningLoad {
    const stream = this.#openStream((verdicts) => stream.write(verdicts));
    for (let sent = 0; sent < window; sent += ITEMS_PER_FRAME_MAX) {
      stream.write(Math.min(ITEMS_PER_FRAME_MAX, window - sent));
    }
    return stream;
  }

  /** One stream at a fixed rate, independent of the verdicts. */
  pace(perSecond: number): RunningLoad {
    const stream = this.#openStream(() => {});
    const stopTimer = everyDue(perSecond, (due) => stream.write(due));
    return {
      stop: () => {
        stopTimer();
        return stream.stop();
      },
    };
  }

  async #call(): Promise<void> {
    const pushed = await new Promise<PushResponse | Error>((resolve) => {
      this.service.push(this.#request(), (error, response) => resolve(error ?? response));
    });
    if (pushed instanceof Error) this.#recordFailure(pushed.message);
    else this.#check(pushed);
  }

  #openStream(onVerdicts: (count: number) => void): RunningLoad & { write(count: number): void } {
    const call = this.service.pushStream();
    let isStopped = false;
    call.on('data', ({ results }: PushStreamResponse) => {
      for (const { outcome } of results) {
        if (outcome?.$case === 'push') this.#check(outcome.value);
        else this.#recordFailure(outcome?.value.message ?? 'no outcome');
      }
      onVerdicts(results.length);
    });
    const ended = once(call, 'end');
    // `once` rejects when the stream fails; `stop` throws that error.
    ended.catch(() => {});
    return {
      write: (count) => {
        if (isStopped) return;
        const request = () => ({ correlationId: `${this.#next}`, push: this.#request() });
        call.write({ items: Array.from({ length: count }, request) });
      },
      stop: async () => {
        isStopped = true;
        call.end();
        await ended;
        this.#throwIfFailed();
      },
    };
  }

  #request(): PushRequest {
    const clientId = this.clientIds[this.#next++ % this.clientIds.length]!;
    const { ttlMs } = this;
    return PushRequest.create({ clientId, payload: timedPayload(), ttlMs, waitMs: WAIT_MS });
  }

  #check({ verdict }: PushResponse): void {
    if (verdict !== Verdict.VERDICT_WRITTEN) this.#recordFailure(Verdict[verdict]!);
  }

  #recordFailure(reason: string): void {
    if (this.#failed++ === 0) this.#firstFailure = reason;
  }

  #throwIfFailed(): void {
    if (this.#failed === 0) return;
    throw new Error(`${this.#failed} pushes were not written, the first: ${this.#firstFailure}`);
  }
}

/** Calls `send` every millisecond with the number of pushes that are due; returns how to stop. */
function everyDue(perSecond: number, send: (due: number) => void): () => void {
  const startUs = nowUs();
  let sent = 0;
  const timer = setInterval(() => {
    const due = Math.floor(((nowUs() - startUs) / 1e6) * perSecond);
    if (due > sent) send(due - sent);
    sent = due;
  }, 1);
  return () => clearInterval(timer);
}
