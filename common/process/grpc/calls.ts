/** Credentials, deadlines and statuses of gRPC calls. */
import {
  type Deadline,
  Metadata,
  type ServerInterceptingCall,
  type ServerInterceptor,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { catalogue, type ErrorCode, type Rejection } from '../errors.js';
import { unixMs } from '../time/clock.js';

const CODE_KEY = 'longline-code';
type SentStatus = Parameters<Parameters<ServerInterceptor>[1]['sendStatus']>[0];

/** Start of the paths of our own services; those of health checks and reflection differ. */
export const OWN_SERVICES = '/longline.';

/** Part of the time until a deadline that is left for sending the response. */
const MARGIN_SHARE = 0.2;
const MARGIN_MS_MAX = 500;

/** Returns the value of `authorization` in the metadata of a call. */
export function authorizationOf(metadata: Metadata): string | undefined {
  return metadata.get('authorization')[0]?.toString();
}

/** Maps a rejection to a gRPC status, with its code in the message and in the metadata. */
export function toServiceError(rejected: Rejection): Partial<ServiceError> {
  return {
    code: catalogue[rejected.code].grpc,
    details: `${rejected.code}: ${rejected.message}`,
    metadata: codeMetadata(rejected.code),
  };
}

/**
 * When the response to a call must be ready to arrive before the caller's deadline, in ms of the
 * monotonic clock; Infinity: the call has no deadline.
 */
export function answerByMs(call: { getDeadline(): Deadline }): number {
  const deadlineMs = Number(call.getDeadline());
  if (deadlineMs === Number.POSITIVE_INFINITY) return deadlineMs;
  // The library derives the deadline from the caller's timeout, by the clock of this machine.
  const leftMs = deadlineMs - unixMs();
  return performance.now() + leftMs - Math.min(MARGIN_MS_MAX, leftMs * MARGIN_SHARE);
}

/** The deadline of a call, as the library takes it: a Unix time by the clock of this machine. */
export function deadlineIn(ms: number): number {
  return unixMs() + ms;
}

/**
 * Adds a code to the statuses with which the library itself ends calls of our services, such as
 * RESOURCE_EXHAUSTED for a message over the limit. The status is the one that gRPC prescribes. It
 * replaces a method, because the library sends these statuses past all interceptors, and returns
 * the call itself, because a wrapper would have a cost per message.
 */
export const addCodes: ServerInterceptor = (method, call) => {
  if (!method.path.startsWith(OWN_SERVICES)) return call as ServerInterceptingCall;
  const sendStatus = call.sendStatus.bind(call);
  call.sendStatus = (sent) => sendStatus(withCode(sent));
  return call as ServerInterceptingCall;
};

/** The beginning of the library's message, where one status has several causes. */
const CODES: readonly (readonly [status, RegExp, ErrorCode])[] = [
  [status.RESOURCE_EXHAUSTED, /^Received message/, 'PAYLOAD_TOO_LARGE'],
  [status.INTERNAL, /^(Error deserializing|Failed to decompress|Invalid )/, 'REQUEST_MALFORMED'],
  [status.UNIMPLEMENTED, /^Received /, 'REQUEST_MALFORMED'],
  [status.DEADLINE_EXCEEDED, /^/, 'DEADLINE_EXCEEDED'],
  [status.INTERNAL, /^/, 'INTERNAL'],
  [status.UNKNOWN, /^/, 'INTERNAL'],
];

function withCode(sent: SentStatus): SentStatus {
  if (sent.code === status.OK || sent.metadata?.get(CODE_KEY).length) return sent;
  const { details } = sent;
  const code = CODES.find(([own, text]) => own === sent.code && text.test(details))?.[2];
  if (code === undefined) return sent;
  return { ...sent, details: `${code}: ${details}`, metadata: codeMetadata(code) };
}

function codeMetadata(code: ErrorCode): Metadata {
  const metadata = new Metadata();
  metadata.set(CODE_KEY, code);
  return metadata;
}
