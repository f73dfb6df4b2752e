/** Validation of push requests. Pure. */
import { type Rejection, rejection } from '../../common/process/errors.js';
import { rejectClientId } from '../../common/wire/client-id.js';
import { AcceptLevel, type PushRequest, WaitFor } from '../../proto/gen/longline/v1/push.js';
import type { RequiredLevel } from './accept-level-writer.js';

const WAIT_MS_MAX = 60_000;
const IDEMPOTENCY_KEY_BYTES_MAX = 128;
const CONTENT_TYPE = /^[\x20-\x7e]{0,128}$/;

export interface PushLimits {
  readonly payloadBytesMax: number;
  readonly ttlMaxMs: number;
}

/** @param ttlMs the request's own, or the router's default */
export function rejectPush(
  request: PushRequest,
  ttlMs: number,
  { payloadBytesMax, ttlMaxMs }: PushLimits,
): Rejection | undefined {
  const { waitMs, idempotencyKey } = request;
  const invalidPayload = rejectPayload(request, payloadBytesMax);
  if (invalidPayload !== undefined) return invalidPayload;
  if (waitMs > WAIT_MS_MAX) {
    const message = `wait_ms is ${waitMs}; the maximum is ${WAIT_MS_MAX}`;
    return rejection('REQUEST_MALFORMED', message);
  }
  if (!isDefined(AcceptLevel, request.acceptLevel)) {
    return rejection('REQUEST_MALFORMED', `accept_level ${request.acceptLevel} is unknown`);
  }
  if (!isDefined(WaitFor, request.waitFor)) {
    return rejection('REQUEST_MALFORMED', `wait_for ${request.waitFor} is unknown`);
  }
  const isForStored =
    request.waitFor === WaitFor.WAIT_FOR_STORED || request.waitFor === WaitFor.WAIT_FOR_ACKED;
  if (isForStored && ttlMs === 0) {
    const message = `wait_for ${WaitFor[request.waitFor]} requires a durable push; its ttl_ms is 0`;
    return rejection('REQUEST_MALFORMED', message);
  }
  if (ttlMs > ttlMaxMs) {
    return rejection('TTL_TOO_LONG', `ttl_ms is ${ttlMs}; the maximum is ${ttlMaxMs}`);
  }
  const keyBytes = Buffer.byteLength(idempotencyKey);
  if (keyBytes > IDEMPOTENCY_KEY_BYTES_MAX) {
    const message = `idempotency_key is ${keyBytes} bytes; the maximum is ${IDEMPOTENCY_KEY_BYTES_MAX}`;
    return rejection('IDEMPOTENCY_KEY_INVALID', message);
  }
  if (idempotencyKey !== '' && ttlMs === 0) {
    const message = 'idempotency_key requires a durable push; its ttl_ms is 0';
    return rejection('IDEMPOTENCY_KEY_INVALID', message);
  }
  return rejectClientId(request.clientId);
}

/** Generated code has -1 for unknown values of its own, which a caller may send as well. */
function isDefined(values: Readonly<Record<number, string>>, value: number): boolean {
  return value >= 0 && values[value] !== undefined;
}

export function rejectPayload(
  { payload, contentType }: Pick<PushRequest, 'payload' | 'contentType'>,
  payloadBytesMax: number,
): Rejection | undefined {
  if (payload.length > payloadBytesMax) {
    const message = `the payload is ${payload.length} bytes; the maximum is ${payloadBytesMax}`;
    return rejection('PAYLOAD_TOO_LARGE', message);
  }
  if (CONTENT_TYPE.test(contentType)) return undefined;
  const message = 'content_type must be at most 128 printable ASCII characters';
  return rejection('REQUEST_MALFORMED', message);
}

/** Accept level of a valid request; undefined: being in Redis is enough. */
export function requiredLevelOf(
  { acceptLevel, replicas }: PushRequest,
  defaultLevel: RequiredLevel | undefined,
): RequiredLevel | undefined {
  switch (acceptLevel) {
    case AcceptLevel.ACCEPT_LEVEL_UNSPECIFIED:
      return defaultLevel;
    case AcceptLevel.ACCEPT_LEVEL_ACCEPTED:
      return undefined;
    case AcceptLevel.ACCEPT_LEVEL_REPLICATED:
      return { level: acceptLevel, replicas: Math.max(1, replicas) };
    default:
      return { level: AcceptLevel.ACCEPT_LEVEL_FSYNCED, replicas: 0 };
  }
}
