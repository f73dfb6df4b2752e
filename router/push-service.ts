/** `longline.v1.PushService` over gRPC: translates between the wire and `Pusher`. */
import type { handleUnaryCall, ServerDuplexStream, ServerUnaryCall } from '@grpc/grpc-js';
import { type Refusal, refusal } from '../common/errors.js';
import { toServiceError } from '../common/grpc-server.js';
import type { Logger } from '../common/log.js';
import type {
  PushResponse,
  PushServiceServer,
  PushStreamItem,
  PushStreamRequest,
  PushStreamResponse,
  PushStreamResult,
} from '../proto/gen/longline/v1/push.js';
import { broadcast, pushMany } from './many.js';
import type { Pusher } from './pusher.js';

/**
 * Pushes of one stream that wait for a verdict or to be read by the caller. At the bound the router
 * stops reading, and HTTP/2 flow control stops the caller; at half of it the router reads on.
 */
const IN_FLIGHT_PER_STREAM_MAX = 8_192;

export function createPushService(pusher: Pusher, log: Logger): PushServiceServer {
  return {
    push: unary(log, (request) => pusher.push(request)),
    pushMany: unary(log, (request) => pushMany(pusher, request)),
    broadcast: unary(log, (request, call) =>
      broadcast(pusher.asker, request, pusher.config, () => call.cancelled),
    ),
    getPresence: unary(log, ({ clientId }) => pusher.presence(clientId)),
    disconnect: unary(log, ({ clientId }) => pusher.disconnect(clientId)),
    pushStream: (call) => new PushStream(call, pusher, log),
  };
}

function unary<Request, Response extends object>(
  log: Logger,
  handle: (
    request: Request,
    call: ServerUnaryCall<Request, Response>,
  ) => Promise<Response | Refusal>,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    handle(call.request, call).then(
      (result) => {
        if ('code' in result) callback(toServiceError(result as Refusal));
        else callback(null, result);
      },
      (error) => callback(toServiceError(internal(log, error))),
    );
  };
}

/** One caller's stream: results go back in frames, one per turn of the event loop. */
class PushStream {
  #inFlight = 0;
  #results: PushStreamResult[] = [];
  #isWritable = true;
  #isReading = true;
  #hasEnded = false;

  constructor(
    readonly call: ServerDuplexStream<PushStreamRequest, PushStreamResponse>,
    readonly pusher: Pusher,
    readonly log: Logger,
  ) {
    call.on('data', (request: PushStreamRequest) => {
      for (const item of request.items) this.#push(item);
      this.#steer();
    });
    call.on('drain', () => {
      this.#isWritable = true;
      this.#flush();
    });
    call.on('end', () => {
      this.#hasEnded = true;
      this.#endWhenDone();
    });
    // A caller that cancels or is gone: what is in flight goes on, nobody hears of it.
    call.on('error', () => {});
  }

  #push({ correlationId, push }: PushStreamItem): void {
    this.#inFlight++;
    if (push === undefined) {
      return this.#answer(correlationId, refusal('REQUEST_MALFORMED', 'the item has no push'));
    }
    this.pusher.push(push).then(
      (pushed) => this.#answer(correlationId, pushed),
      (error) => this.#answer(correlationId, internal(this.log, error)),
    );
  }

  #answer(correlationId: PushStreamItem['correlationId'], pushed: PushResponse | Refusal): void {
    const outcome: PushStreamResult['outcome'] =
      'code' in pushed ? { $case: 'failure', value: pushed } : { $case: 'push', value: pushed };
    if (this.#results.push({ correlationId, outcome }) === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    if (!this.#isWritable || this.#results.length === 0) return;
    const results = this.#results;
    this.#results = [];
    this.#inFlight -= results.length;
    if (this.call.cancelled) return;
    this.#isWritable = this.call.write({ results });
    this.#steer();
    this.#endWhenDone();
  }

  #steer(): void {
    if (this.#isReading && this.#inFlight >= IN_FLIGHT_PER_STREAM_MAX) {
      this.#isReading = false;
      this.call.pause();
    } else if (!this.#isReading && this.#inFlight <= IN_FLIGHT_PER_STREAM_MAX / 2) {
      this.#isReading = true;
      this.call.resume();
    }
  }

  #endWhenDone(): void {
    if (this.#hasEnded && this.#inFlight === 0) this.call.end();
  }
}

function internal(log: Logger, error: Error): Refusal {
  log.error({ err: error }, 'a push failed unexpectedly');
  return refusal('INTERNAL', 'unexpected failure; see the log of the router');
}
