/** Validation of push requests. Pure. */
import type { Combination } from '../../common/cluster/inbox/combine.js';
import type { InboxBounds } from '../../common/cluster/inbox/push.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { rejectClientId } from '../../common/wire/client-id.js';
import {
  AcceptLevel,
  type PushRequest,
  WaitFor,
  WhenSlow,
} from '../../proto/gen/longline/v1/push.js';
import type { RequiredLevel } from './store/accept-level-writer.js';

export const WAIT_MS_MAX = 60_000;
const IDEMPOTENCY_KEY_BYTES_MAX = 128;
const PUSH_KEY_BYTES_MAX = 64;
const CONTENT_TYPE = /^[\x20-\x7e]{0,128}$/;

export interface PushLimits {
  readonly payloadBytesMax: number;
  readonly ttlMaxMs: number;
  readonly inbox: Pick<InboxBounds, 'events'>;
}

/** @param ttlMs the request's own, or the router's default */
export function rejectPush(
  request: PushRequest,
  ttlMs: number,
  { payloadBytesMax, ttlMaxMs, inbox }: PushLimits,
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
  const unfit = rejectWhenSlow(request.whenSlow, ttlMs === 0);
  if (unfit !== undefined) return unfit;
  const isForStored =
    request.waitFor === WaitFor.WAIT_FOR_STORED || request.waitFor === WaitFor.WAIT_FOR_ACKED;
  if (isForStored && ttlMs === 0) {
    const event = request.waitFor === WaitFor.WAIT_FOR_STORED ? 'stored' : 'acked';
    const message = `waiting for ${event} requires a durable push; the TTL of this one is 0`;
    return rejection('REQUEST_MALFORMED', message);
  }
  if (ttlMs > ttlMaxMs) {
    return rejection('TTL_TOO_LONG', `the TTL is ${ttlMs} ms; the maximum is ${ttlMaxMs} ms`);
  }
  const keyBytes = Buffer.byteLength(idempotencyKey);
  if (keyBytes > IDEMPOTENCY_KEY_BYTES_MAX) {
    const message = `the idempotency key is ${keyBytes} bytes; the maximum is ${IDEMPOTENCY_KEY_BYTES_MAX}`;
    return rejection('IDEMPOTENCY_KEY_INVALID', message);
  }
  if (idempotencyKey !== '' && ttlMs === 0) {
    const message = 'an idempotency key requires a durable push; the TTL of this one is 0';
    return rejection('IDEMPOTENCY_KEY_INVALID', message);
  }
  return (
    rejectKeys(request, ttlMs) ??
    rejectNotification(request.notifyUnreadAfterMs, ttlMs, inbox) ??
    rejectClientId(request.clientId)
  );
}

function rejectKeys(
  { collapseKey, appendTo, appendEnd }: PushRequest,
  ttlMs: number,
): Rejection | undefined {
  if (collapseKey === '' && appendTo === '' && !appendEnd) return undefined;
  const invalid = (message: string) => rejection('PUSH_KEY_INVALID', message);
  if (appendEnd && appendTo === '') return invalid('append_end requires append_to');
  if (collapseKey !== '' && appendTo !== '') {
    return invalid('the push has a collapse_key and append_to; name one of them');
  }
  const [name, key] = appendTo === '' ? ['collapse_key', collapseKey] : ['append_to', appendTo];
  const bytes = Buffer.byteLength(key);
  if (bytes > PUSH_KEY_BYTES_MAX) {
    return invalid(`${name} is ${bytes} bytes; the maximum is ${PUSH_KEY_BYTES_MAX}`);
  }
  if (/\p{Cc}/u.test(key)) return invalid(`${name} contains a control character`);
  if (ttlMs > 0) return undefined;
  return invalid(`${name} requires a durable push; the TTL of this one is 0`);
}

/** Returns the combination of a valid request. */
export function combinationOf({
  collapseKey,
  appendTo,
  appendEnd,
}: Pick<PushRequest, 'collapseKey' | 'appendTo' | 'appendEnd'>): Combination | undefined {
  if (collapseKey !== '') return { type: 'collapse', key: collapseKey };
  if (appendTo !== '') return { type: 'append', key: appendTo, isEnd: appendEnd };
  return undefined;
}

function rejectNotification(
  afterMs: number,
  ttlMs: number,
  { events }: PushLimits['inbox'],
): Rejection | undefined {
  if (afterMs === 0) return undefined;
  if (events === undefined) {
    const message = 'notify_unread_after_ms needs events of pushes; set LONGLINE_EVENTS=pushes';
    return rejection('EVENTS_DISABLED', message);
  }
  if (afterMs <= ttlMs) return undefined;
  const message = `notify_unread_after_ms is ${afterMs}; the maximum is the TTL, ${ttlMs} ms`;
  return rejection('REQUEST_MALFORMED', message);
}

/** @param isLive the push is live only */
export function rejectWhenSlow(whenSlow: WhenSlow, isLive: boolean): Rejection | undefined {
  if (!isDefined(WhenSlow, whenSlow)) {
    return rejection('REQUEST_MALFORMED', `when_slow ${whenSlow} is unknown`);
  }
  if (whenSlow === WhenSlow.WHEN_SLOW_DROP && !isLive) {
    const message = 'when_slow drop requires a live-only push; a durable one can be kept for later';
    return rejection('REQUEST_MALFORMED', message);
  }
  if (whenSlow === WhenSlow.WHEN_SLOW_KEEP && isLive) {
    const message = 'when_slow keep requires a durable push; the TTL of this one is 0';
    return rejection('REQUEST_MALFORMED', message);
  }
  return undefined;
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
  const message = 'the content type must be at most 128 printable ASCII characters';
  return rejection('REQUEST_MALFORMED', message);
}

/** Accept level of a valid request; undefined: being in Redis is enough. */
export function requiredLevelOf(
  { acceptLevel, replicas }: Pick<PushRequest, 'acceptLevel' | 'replicas'>,
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
