/** Helpers of the gRPC calls about events. */
import type { ServerDuplexStream, ServerUnaryCall } from '@grpc/grpc-js';
import type { Rejection } from '../../common/process/errors.js';
import { authorizationOf, toServiceError } from '../../common/process/grpc/calls.js';
import type { ClientEvent } from '../../proto/gen/longline/v1/events.js';
import type { Credentials } from '../push/backends.js';
import type { DeliveredEvent } from './partition.js';

type Call = Pick<ServerUnaryCall<unknown, unknown>, 'metadata' | 'getAuthContext'>;
type Stream = Pick<ServerDuplexStream<unknown, unknown>, 'cancelled' | 'writableEnded' | 'emit'>;

export function credentialsOf(call: Call): Credentials {
  return {
    authorization: authorizationOf(call.metadata),
    certificate: call.getAuthContext().sslPeerCertificate,
  };
}

export function end(call: Stream, reason: Rejection): void {
  if (!call.cancelled && !call.writableEnded) call.emit('error', toServiceError(reason));
}

export function toWire({ id, type, clientId, atMs, fields, lost }: DeliveredEvent): ClientEvent {
  return {
    id,
    type,
    clientId,
    atMs,
    messageId: fields.get('m') ?? '',
    edgeId: fields.get('e') ?? '',
    protocol: fields.get('p') ?? '',
    labels: fields.get('l') ?? '',
    reason: fields.get('r') ?? '',
    durationMs: Number(fields.get('d') ?? 0),
    lost,
    group: fields.get('g') ?? '',
    fromEdgeId: fields.get('f') ?? '',
    count: Number(fields.get('n') ?? 0),
  };
}
