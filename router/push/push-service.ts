/** `longline.v1.PushService` over gRPC: translates between the wire and `Pusher`. */
import type { handleUnaryCall, ServerDuplexStream, ServerUnaryCall } from '@grpc/grpc-js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { answerByMs, toServiceError } from '../../common/process/grpc/calls.js';
import type { Logger } from '../../common/process/log.js';
import type {
  PushResponse,
  PushServiceServer,
  PushStreamItem,
  PushStreamRequest,
  PushStreamResponse,
  PushStreamResult,
} from '../../proto/gen/longline/v1/push.js';
import type { Scope } from './backend-settings.js';
import type { Backend, Backends } from './backends.js';
import { broadcast, pushMany } from './fan-out.js';
import type { Pusher } from './pusher.js';

/**
 * Pushes of one stream that await a verdict or whose result the caller has not read. At the bound the
 * router stops reading, and HTTP/2 flow control stops the caller; at half of it reading resumes.
 */
const IN_FLIGHT_PER_STREAM_MAX = 8_192;

interface PushServiceOptions {
  readonly pusher: Pusher;
  readonly backends: Backends;
  readonly log: Logger;
  /** Aborted when the router shuts down. */
  readonly stopping: AbortSignal;
}

export function createPushService(options: PushServiceOptions): PushServiceServer {
  const { pusher, backends, stopping } = options;
  const unary = unaryOf(options);
  return {
    push: unary('push', (request, call, backend) => {
      return backend.rejectPushes(1) ?? pusher.push(request, answerByMs(call));
    }),
    pushMany: unary('push', (request, call, backend) => {
      return (
        backend.rejectPushes(request.clientIds.length) ??
        pushMany(pusher, request, answerByMs(call))
      );
    }),
    broadcast: unary('push', (request, call, backend) => {
      const { waitMs, payloadBytesMax } = pusher.config;
      const isEnded = () => call.cancelled || stopping.aborted;
      const limits = { waitMs, payloadBytesMax, answerByMs: answerByMs(call), isEnded };
      return backend.rejectPushes(1) ?? broadcast(pusher.shardQueries, request, limits);
    }),
    getPresence: unary('presence', ({ clientId }, call) => {
      return pusher.presence(clientId, answerByMs(call));
    }),
    disconnect: unary('disconnect', ({ clientId }, call) => {
      return pusher.disconnect(clientId, answerByMs(call));
    }),
    pushStream: (call) => {
      const backend = backends.authorize(call, 'push');
      if ('code' in backend) call.emit('error', toServiceError(pusher.rejected(backend)));
      else new PushStream(call, backend, options);
    },
  };
}

function unaryOf({ pusher, backends, log }: PushServiceOptions) {
  return <Request, Response extends object>(
    scope: Scope,
    handle: (
      request: Request,
      call: ServerUnaryCall<Request, Response>,
      backend: Backend,
    ) => Promise<Response | Rejection> | Rejection,
  ): handleUnaryCall<Request, Response> =>
    (call, callback) => {
      const backend = backends.authorize(call, scope);
      if ('code' in backend) return callback(toServiceError(pusher.rejected(backend)));
      const result = handle(call.request, call, backend);
      if (!(result instanceof Promise)) return callback(toServiceError(pusher.rejected(result)));
      result.then(
        (response) => {
          if ('code' in response) callback(toServiceError(response as Rejection));
          else callback(null, response);
        },
        (error) => callback(toServiceError(internal(log, error))),
      );
    };
}

/** One caller's stream. Results are sent in frames, one per turn of the event loop. */
class PushStream {
  #inFlight = 0;
  #results: PushStreamResult[] = [];
  #isWritable = true;
  #isReading = true;
  #hasEnded = false;
  /** Version of the tokens under which the caller was authorised. */
  #version: number;
  readonly #answerByMs: number;

  constructor(
    readonly call: ServerDuplexStream<PushStreamRequest, PushStreamResponse>,
    readonly backend: Backend,
    readonly options: PushServiceOptions,
  ) {
    const { backends, stopping } = options;
    this.#version = backends.version;
    this.#answerByMs = answerByMs(call);
    const stop = () => this.#stop();
    stopping.addEventListener('abort', stop);
    call.on('close', () => stopping.removeEventListener('abort', stop));
    call.on('data', (request: PushStreamRequest) => {
      if (this.#version !== backends.version && !this.#isStillAuthorized()) return;
      for (const item of request.items) this.#push(item);
      this.#controlFlow();
    });
    call.on('drain', () => {
      this.#isWritable = true;
      this.#flush();
    });
    call.on('end', () => {
      this.#hasEnded = true;
      this.#endWhenDone();
    });
    // The caller has cancelled or disconnected: pushes in flight complete, their results are dropped.
    call.on('error', () => {});
  }

  /**
   * On shutdown the router answers what it has read; the caller sends the rest to another router.
   * Without this the stream would never end.
   */
  #stop(): void {
    this.call.pause();
    this.#endWhenDone();
  }

  /** Ends the stream if the caller's token was removed. */
  #isStillAuthorized(): boolean {
    const { backends, pusher } = this.options;
    if (this.call.writableEnded) return false;
    const backend = backends.authorize(this.call, 'push');
    if (!('code' in backend)) {
      this.#version = backends.version;
      return true;
    }
    this.call.emit('error', toServiceError(pusher.rejected(backend)));
    return false;
  }

  #push({ correlationId, push }: PushStreamItem): void {
    const { pusher, log } = this.options;
    this.#inFlight++;
    if (push === undefined) {
      return this.#answer(correlationId, rejection('REQUEST_MALFORMED', 'the item has no push'));
    }
    const limited = this.backend.rejectPushes(1);
    if (limited !== undefined) return this.#answer(correlationId, pusher.rejected(limited));
    pusher.push(push, this.#answerByMs).then(
      (response) => this.#answer(correlationId, response),
      (error) => this.#answer(correlationId, internal(log, error)),
    );
  }

  #answer(
    correlationId: PushStreamItem['correlationId'],
    response: PushResponse | Rejection,
  ): void {
    const outcome: PushStreamResult['outcome'] =
      'code' in response
        ? { $case: 'failure', value: response }
        : { $case: 'push', value: response };
    if (this.#results.push({ correlationId, outcome }) === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    if (!this.#isWritable || this.#results.length === 0) return;
    const results = this.#results;
    this.#results = [];
    this.#inFlight -= results.length;
    if (this.call.cancelled || this.call.writableEnded) return;
    this.#isWritable = this.call.write({ results });
    this.#controlFlow();
    this.#endWhenDone();
  }

  #controlFlow(): void {
    if (this.#isReading && this.#inFlight >= IN_FLIGHT_PER_STREAM_MAX) {
      this.#isReading = false;
      this.call.pause();
    } else if (
      !this.#isReading &&
      !this.options.stopping.aborted &&
      this.#inFlight <= IN_FLIGHT_PER_STREAM_MAX / 2
    ) {
      this.#isReading = true;
      this.call.resume();
    }
  }

  #endWhenDone(): void {
    if (this.#inFlight > 0 || this.call.writableEnded) return;
    if (this.#hasEnded) this.call.end();
    else if (this.options.stopping.aborted) {
      const message = 'the router is shutting down; push through another one';
      this.call.emit('error', toServiceError(rejection('NOT_READY', message)));
    }
  }
}

function internal(log: Logger, error: Error): Rejection {
  log.error({ err: error }, 'push failed unexpectedly');
  return rejection('INTERNAL', 'unexpected failure; see the log of the router');
}
