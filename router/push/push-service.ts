/** `longline.v1.PushService` over gRPC: translates between the wire and `Pusher`. */
import type { handleUnaryCall, ServerDuplexStream, ServerUnaryCall } from '@grpc/grpc-js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { toServiceError } from '../../common/process/grpc-server.js';
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
import { broadcast, pushMany } from './many.js';
import type { Pusher } from './pusher.js';

/**
 * Pushes of one stream that wait for a verdict or to be read by the caller. At the bound the router
 * stops reading, and HTTP/2 flow control stops the caller; at half of it the router reads on.
 */
const IN_FLIGHT_PER_STREAM_MAX = 8_192;

export function createPushService(
  pusher: Pusher,
  backends: Backends,
  log: Logger,
  stopping: AbortSignal,
): PushServiceServer {
  const unary = unaryOf(pusher, backends, log);
  return {
    push: unary('push', (request, _call, backend) => {
      return backend.rejectPushes(1) ?? pusher.push(request);
    }),
    pushMany: unary('push', (request, _call, backend) => {
      return backend.rejectPushes(request.clientIds.length) ?? pushMany(pusher, request);
    }),
    broadcast: unary('push', (request, call, backend) => {
      return (
        backend.rejectPushes(1) ??
        broadcast(pusher.shardQueries, request, pusher.config, () => call.cancelled)
      );
    }),
    getPresence: unary('presence', ({ clientId }) => pusher.presence(clientId)),
    disconnect: unary('disconnect', ({ clientId }) => pusher.disconnect(clientId)),
    pushStream: (call) => {
      const backend = backends.admit(call, 'push');
      if ('code' in backend) call.emit('error', toServiceError(pusher.rejected(backend)));
      else new PushStream(call, backend, pusher, backends, log, stopping);
    },
  };
}

function unaryOf(pusher: Pusher, backends: Backends, log: Logger) {
  return <Request, Response extends object>(
    scope: Scope,
    handle: (
      request: Request,
      call: ServerUnaryCall<Request, Response>,
      backend: Backend,
    ) => Promise<Response | Rejection> | Rejection,
  ): handleUnaryCall<Request, Response> =>
    (call, callback) => {
      const backend = backends.admit(call, scope);
      if ('code' in backend) return callback(toServiceError(pusher.rejected(backend)));
      const result = handle(call.request, call, backend);
      if (!(result instanceof Promise)) return callback(toServiceError(pusher.rejected(result)));
      result.then(
        (answer) => {
          if ('code' in answer) callback(toServiceError(answer as Rejection));
          else callback(null, answer);
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
  /** Of the tokens among which the caller's was. */
  #version: number;

  constructor(
    readonly call: ServerDuplexStream<PushStreamRequest, PushStreamResponse>,
    readonly backend: Backend,
    readonly pusher: Pusher,
    readonly backends: Backends,
    readonly log: Logger,
    readonly stopping: AbortSignal,
  ) {
    this.#version = backends.version;
    const leave = () => this.#leave();
    stopping.addEventListener('abort', leave);
    call.on('close', () => stopping.removeEventListener('abort', leave));
    call.on('data', (request: PushStreamRequest) => {
      if (this.#version !== this.backends.version && !this.#isStillAdmitted()) return;
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

  /**
   * The router stops: what it has read is answered, and what it has not, the caller sends to another
   * router. Such a stream would never end by itself.
   */
  #leave(): void {
    this.call.pause();
    this.#endWhenDone();
  }

  /** Ends the stream of a caller whose token is gone. */
  #isStillAdmitted(): boolean {
    if (this.call.writableEnded) return false;
    const backend = this.backends.admit(this.call, 'push');
    if (!('code' in backend)) {
      this.#version = this.backends.version;
      return true;
    }
    this.call.emit('error', toServiceError(this.pusher.rejected(backend)));
    return false;
  }

  #push({ correlationId, push }: PushStreamItem): void {
    this.#inFlight++;
    if (push === undefined) {
      return this.#answer(correlationId, rejection('REQUEST_MALFORMED', 'the item has no push'));
    }
    const limited = this.backend.rejectPushes(1);
    if (limited !== undefined) return this.#answer(correlationId, this.pusher.rejected(limited));
    this.pusher.push(push).then(
      (pushed) => this.#answer(correlationId, pushed),
      (error) => this.#answer(correlationId, internal(this.log, error)),
    );
  }

  #answer(correlationId: PushStreamItem['correlationId'], pushed: PushResponse | Rejection): void {
    const outcome: PushStreamResult['outcome'] =
      'code' in pushed ? { $case: 'failure', value: pushed } : { $case: 'push', value: pushed };
    if (this.#results.push({ correlationId, outcome }) === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    if (!this.#isWritable || this.#results.length === 0) return;
    const results = this.#results;
    this.#results = [];
    this.#inFlight -= results.length;
    if (this.call.cancelled || this.call.writableEnded) return;
    this.#isWritable = this.call.write({ results });
    this.#steer();
    this.#endWhenDone();
  }

  #steer(): void {
    if (this.#isReading && this.#inFlight >= IN_FLIGHT_PER_STREAM_MAX) {
      this.#isReading = false;
      this.call.pause();
    } else if (
      !this.#isReading &&
      !this.stopping.aborted &&
      this.#inFlight <= IN_FLIGHT_PER_STREAM_MAX / 2
    ) {
      this.#isReading = true;
      this.call.resume();
    }
  }

  #endWhenDone(): void {
    if (this.#inFlight > 0 || this.call.writableEnded) return;
    if (this.#hasEnded) this.call.end();
    else if (this.stopping.aborted) {
      this.call.emit('error', toServiceError(rejection('NOT_READY', 'the router is stopping')));
    }
  }
}

function internal(log: Logger, error: Error): Rejection {
  log.error({ err: error }, 'a push failed unexpectedly');
  return rejection('INTERNAL', 'unexpected failure; see the log of the router');
}
