/**
 * `longline.v1.PushService` and `GroupService` over gRPC: translates between the wire and
 * `PushApi`.
 */
import type { handleUnaryCall, ServerDuplexStream, ServerUnaryCall } from '@grpc/grpc-js';
import type { Rejection } from '../../../common/process/errors.js';
import { answerByMs, authorizationOf, toServiceError } from '../../../common/process/grpc/calls.js';
import type { GrpcConnections } from '../../../common/process/grpc/connections.js';
import { withStrictStrings } from '../../../common/process/grpc/strict-strings.js';
import { traceContextOf } from '../../../common/process/tracing/tracer.js';
import {
  type GroupServiceServer,
  GroupServiceService,
} from '../../../proto/gen/longline/v1/group.js';
import { type PushServiceServer, PushServiceService } from '../../../proto/gen/longline/v1/push.js';
import type { BackendCall, Operation, PushApi } from '../operations.js';
import { PushStream, type StreamResult, type StreamWire, tooOld } from '../push-stream.js';
import { decodeFrame, type Frame } from './stream-frames.js';
import { boundsOf } from './stream-intake.js';
import { encodeResults } from './stream-results.js';

/**
 * Requests must have UTF-8 in their strings, and messages of a stream are decoded item by item, and
 * encoded by hand, with other types than the generated ones: hence the forced type here and at
 * `openStream`.
 */
export const pushServiceDefinition = {
  ...withStrictStrings(PushServiceService),
  pushStream: {
    ...PushServiceService.pushStream,
    requestDeserialize: decodeFrame,
    responseSerialize: encodeResults,
  },
} as unknown as typeof PushServiceService;

export const groupServiceDefinition = withStrictStrings(GroupServiceService);

export function createGroupService(api: PushApi): GroupServiceServer {
  return {
    joinGroup: unary(api, api.joinGroup),
    leaveGroup: unary(api, api.leaveGroup),
    deleteGroup: unary(api, api.deleteGroup),
    listMembers: unary(api, api.listMembers),
    listGroups: unary(api, api.listGroups),
    pushGroup: unary(api, api.pushGroup),
  };
}

export function createPushService(
  api: PushApi,
  connections: Pick<GrpcConnections, 'onRetired'>,
): PushServiceServer {
  return {
    push: unary(api, api.push),
    pushMany: unary(api, api.pushMany),
    pushUser: unary(api, api.pushUser),
    broadcast: unary(api, api.broadcast),
    getPresence: unary(api, api.presence),
    disconnect: unary(api, api.disconnect),
    pushStream: (call) => {
      // Its messages are frames: `pushServiceDefinition` decodes them.
      openStream(call as unknown as PushStreamCall, api, connections);
    },
  };
}

function unary<Request, Response extends object>(
  api: PushApi,
  operation: Operation<Request, Response>,
): handleUnaryCall<Request, Response> {
  return (grpcCall, callback) => {
    const call = new GrpcCall(grpcCall);
    const backend = api.authorize(call, operation.scope);
    if ('code' in backend) return callback(toServiceError(backend));
    api.run(operation, grpcCall.request, call, backend, (response) => {
      if ('code' in response) callback(toServiceError(response as Rejection));
      else callback(null, response);
    });
  };
}

class GrpcCall implements BackendCall {
  readonly answerByMs: number;

  constructor(
    readonly call: Pick<
      ServerUnaryCall<unknown, unknown>,
      'metadata' | 'cancelled' | 'getDeadline' | 'getAuthContext'
    >,
  ) {
    this.answerByMs = answerByMs(call);
  }

  get authorization() {
    return authorizationOf(this.call.metadata);
  }

  get certificate() {
    return this.call.getAuthContext().sslPeerCertificate;
  }

  get isCancelled() {
    return this.call.cancelled;
  }

  get traceContext() {
    return traceContextOf((name) => this.call.metadata.get(name).join(','));
  }
}

type PushStreamCall = ServerDuplexStream<Frame, readonly StreamResult[]>;

function openStream(
  call: PushStreamCall,
  api: PushApi,
  connections: Pick<GrpcConnections, 'onRetired'>,
): void {
  const wire = new GrpcStream(call);
  const backend = api.authorize(wire.call, 'push');
  if ('code' in backend) return wire.end(backend);
  const stream = new PushStream(wire, backend, api);
  const forget = connections.onRetired(call.getPeer(), () => stream.stop(tooOld()));
  call.on('close', () => {
    stream.onClose();
    forget();
  });
  call.on('data', ({ items, bytes }: Frame) => {
    stream.take(items);
    wire.bounds.release(0, bytes);
  });
  call.on('drain', () => stream.onWritable());
  call.on('end', () => stream.onEnd());
  // The caller has cancelled or disconnected.
  call.on('error', () => {});
}

class GrpcStream implements StreamWire {
  readonly call: BackendCall;
  readonly bounds;

  constructor(readonly stream: PushStreamCall) {
    this.call = new GrpcCall(stream);
    this.bounds = boundsOf(stream);
  }

  get isEnded() {
    return this.stream.cancelled || this.stream.writableEnded;
  }

  send(results: readonly StreamResult[]): boolean {
    return this.stream.write(results);
  }

  stopReading(): void {
    this.stream.pause();
  }

  end(reason: Rejection | undefined): void {
    if (reason === undefined) this.stream.end();
    else this.stream.emit('error', toServiceError(reason));
  }
}
