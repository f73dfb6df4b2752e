/** `longline.v1.PushService` over gRPC: translates between the wire and `Pusher`. */
import type { handleUnaryCall, ServerDuplexStream, ServerUnaryCall } from '@grpc/grpc-js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { answerByMs, toServiceError } from '../../common/process/grpc/calls.js';
import type { GrpcConnections } from '../../common/process/grpc/connections.js';
import { withStrictStrings } from '../../common/process/grpc/strict-strings.js';
import type { Logger } from '../../common/process/log.js';
import {
  type PushRequest,
  type PushResponse,
  type PushServiceServer,
  PushServiceService,
  type PushStreamItem,
  type PushStreamResponse,
  type PushStreamResult,
} from '../../proto/gen/longline/v1/push.js';
import type { Scope } from './backend-settings.js';
import type { Backend, Backends } from './backends.js';
import { broadcast } from './many/broadcast.js';
import { pushMany } from './many/push-many.js';
import type { ShardGroups } from './many/shard-groups.js';
import { type Pusher, stopping } from './pusher.js';
import { decodeFrame, type Frame, type FrameItem } from './stream-frames.js';
import { intakeOf, type StreamIntake } from './stream-intake.js';

/** Memory of a push in flight besides its payload. */
const PUSH_OVERHEAD_BYTES = 512;

interface PushServiceOptions {
  readonly pusher: Pusher;
  readonly groups: ShardGroups;
  readonly backends: Backends;
  readonly connections: Pick<GrpcConnections, 'onRetired'>;
  readonly log: Logger;
  /** Aborted when the router shuts down. */
  readonly stopping: AbortSignal;
}

/**
 * Requests must have UTF-8 in their strings, and messages of a stream are decoded item by item, to
 * another type than the generated one: hence the forced type here and at `PushStream`.
 */
export const pushServiceDefinition = {
  ...withStrictStrings(PushServiceService),
  pushStream: { ...PushServiceService.pushStream, requestDeserialize: decodeFrame },
} as unknown as typeof PushServiceService;

export function createPushService(options: PushServiceOptions): PushServiceServer {
  const { pusher, groups, backends } = options;
  const unary = unaryOf(options);
  return {
    push: unary('push', (request, call, backend) => {
      return backend.rejectPushes(1) ?? pusher.push(request, answerByMs(call));
    }),
    pushMany: unary('push', (request, call, backend) => {
      return (
        backend.rejectPushes(request.clientIds.length) ??
        pushMany(pusher, groups, request, answerByMs(call), () => call.cancelled)
      );
    }),
    broadcast: unary('push', (request, call, backend) => {
      const { waitMs, payloadBytesMax } = pusher.config;
      const isEnded = () => call.cancelled || options.stopping.aborted;
      const limits = { waitMs, payloadBytesMax, answerByMs: answerByMs(call), isEnded };
      return backend.rejectPushes(1) ?? broadcast(pusher.shardQueries, groups, request, limits);
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
      // Its messages are frames: `pushServiceDefinition` decodes them.
      else new PushStream(call as unknown as PushStreamCall, backend, options);
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

type PushStreamCall = ServerDuplexStream<Frame, PushStreamResponse>;

/** One caller's stream. Results are sent in frames, one per turn of the event loop. */
class PushStream {
  #inFlight = 0;
  #results: PushStreamResult[] = [];
  #isWritable = true;
  #hasEnded = false;
  /** Why the router reads no more. */
  #stopped: Rejection | undefined;
  /** Version of the tokens under which the caller was authorised. */
  #version: number;
  readonly #answerByMs: number;
  /** Stops reading at its bounds, and so HTTP/2 flow control stops the caller. */
  readonly #intake: StreamIntake;

  constructor(
    readonly call: PushStreamCall,
    readonly backend: Backend,
    readonly options: PushServiceOptions,
  ) {
    const { backends, connections, stopping: signal } = options;
    this.#version = backends.version;
    this.#answerByMs = answerByMs(call);
    this.#intake = intakeOf(call);
    const stop = () => this.#stop(stopping());
    signal.addEventListener('abort', stop);
    const forget = connections.onRetired(call.getPeer(), () => this.#stop(tooOld()));
    call.on('close', () => {
      signal.removeEventListener('abort', stop);
      forget();
    });
    call.on('data', (frame: Frame) => {
      if (this.#version !== backends.version && !this.#isStillAuthorized()) return;
      for (const item of frame.items) this.#take(item);
      this.#intake.release(0, frame.bytes);
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
   * The router answers what it has read, and ends the stream; the caller sends the rest on another one.
   * Without this the stream would never end.
   */
  #stop(reason: Rejection): void {
    this.#stopped = reason;
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

  #take(item: FrameItem): void {
    const { pusher, log } = this.options;
    const { correlationId } = item;
    this.#inFlight++;
    this.#intake.hold(1, 0);
    const push = this.#pushOf(item);
    if ('code' in push) return this.#answer(correlationId, pusher.rejected(push));
    const bytes = push.payload.length + PUSH_OVERHEAD_BYTES;
    this.#intake.hold(0, bytes);
    const answer = (response: PushResponse | Rejection) => {
      this.#intake.release(0, bytes);
      this.#answer(correlationId, response);
    };
    pusher.push(push, this.#answerByMs).then(answer, (error) => answer(internal(log, error)));
  }

  #pushOf(item: FrameItem): PushRequest | Rejection {
    if ('rejected' in item) return item.rejected;
    const { push } = item;
    if (push === undefined) return rejection('REQUEST_MALFORMED', 'the item has no push');
    return this.backend.rejectPushes(1) ?? push;
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
    this.#intake.release(results.length, 0);
    if (this.call.cancelled || this.call.writableEnded) return;
    this.#isWritable = this.call.write({ results });
    this.#endWhenDone();
  }

  #endWhenDone(): void {
    if (this.#inFlight > 0 || this.call.writableEnded) return;
    if (this.#hasEnded) this.call.end();
    else if (this.#stopped !== undefined) {
      this.call.emit('error', toServiceError(this.#stopped));
    }
  }
}

function tooOld(): Rejection {
  return rejection('NOT_READY', 'the connection has reached its maximum age; open another stream');
}

function internal(log: Logger, error: Error): Rejection {
  log.error({ err: error }, 'push failed unexpectedly');
  return rejection('INTERNAL', 'unexpected failure; see the log of the router');
}
