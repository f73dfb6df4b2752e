/**
 * The error catalogue: every rejection that a device, a backend or an operator can meet, in one
 * table. A code is stable for ever; the message beside it says what was expected and what came.
 * It is mapped to a protocol's own status once, at the boundary.
 */
import { status } from '@grpc/grpc-js';

interface CatalogueEntry {
  /** When it is answered. */
  readonly when: string;
  readonly http: number;
  readonly grpc: status;
}

export const catalogue = {
  CLIENT_ID_INVALID: {
    when: 'a clientId is empty, longer than 256 bytes, not UTF-8 or has control characters',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  REQUEST_MALFORMED: {
    when: 'a request cannot be parsed, or a required part of it is missing',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  UNAUTHENTICATED: {
    when: 'no token was shown, or one that is not good',
    http: 401,
    grpc: status.UNAUTHENTICATED,
  },
  TOKEN_EXPIRED: {
    when: 'the token or the ticket of a device has expired; with a new one it is let in',
    http: 401,
    grpc: status.UNAUTHENTICATED,
  },
  PERMISSION_DENIED: {
    when: 'the token is good, and not for this: for another clientId, or without the scope',
    http: 403,
    grpc: status.PERMISSION_DENIED,
  },
  ORIGIN_NOT_ALLOWED: {
    when: 'a page of this origin may not open a WebSocket here',
    http: 403,
    grpc: status.PERMISSION_DENIED,
  },
  NOT_FOUND: { when: 'no such path or object', http: 404, grpc: status.NOT_FOUND },
  METHOD_NOT_ALLOWED: {
    when: 'the path exists, the method does not',
    http: 405,
    grpc: status.UNIMPLEMENTED,
  },
  HEAD_TIMEOUT: {
    when: 'the request head was not complete in time',
    http: 408,
    grpc: status.DEADLINE_EXCEEDED,
  },
  PAYLOAD_TOO_LARGE: {
    when: 'a payload or a request body is over its bound',
    http: 413,
    grpc: status.INVALID_ARGUMENT,
  },
  TARGET_TOO_LONG: {
    when: 'the first line of a request is over the bound of its head',
    http: 414,
    grpc: status.INVALID_ARGUMENT,
  },
  WEBSOCKET_VERSION_UNSUPPORTED: {
    when: 'a WebSocket handshake is not of version 13',
    http: 426,
    grpc: status.INVALID_ARGUMENT,
  },
  HEAD_TOO_LARGE: {
    when: 'the request head is over its bound',
    http: 431,
    grpc: status.INVALID_ARGUMENT,
  },
  HTTP_VERSION_UNSUPPORTED: {
    when: 'the request is not HTTP/1.0 or HTTP/1.1',
    http: 505,
    grpc: status.INVALID_ARGUMENT,
  },
  MQTT_VERSION_UNSUPPORTED: {
    when: 'an MQTT client speaks neither 3.1.1 nor 5',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  PROXY_MALFORMED: {
    when: 'a PROXY header cannot be read',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  PROXY_NOT_ALLOWED: {
    when: 'a PROXY header comes from an address that is in none of LONGLINE_PROXY_NETWORKS',
    http: 403,
    grpc: status.PERMISSION_DENIED,
  },
  PREFIX_FULL: {
    when: 'as many connections as may come from one place; close some, or ask again later',
    http: 429,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  EDGE_FULL: {
    when: 'the edge holds as many connections as it may',
    http: 503,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  GUESTS_FULL: {
    when: 'the device belongs to another edge and follows no redirect, and this edge has too many such',
    http: 503,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  FRONT_FULL: {
    when: 'the front of a router holds as many devices as it may',
    http: 503,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  NO_EDGE: {
    when: 'no edge owns the shard of this client at the moment; ask again',
    http: 503,
    grpc: status.UNAVAILABLE,
  },
  EDGE_UNREACHABLE: {
    when: 'the front of a router could not connect to the edge that owns the shard; ask again',
    http: 503,
    grpc: status.UNAVAILABLE,
  },
  NOT_READY: {
    when: 'the process cannot prove that it delivers at the moment; ask again',
    http: 503,
    grpc: status.UNAVAILABLE,
  },
  RATE_LIMITED: {
    when: 'more was asked for in a second than this caller may; ask again later',
    http: 429,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  OVERLOADED: {
    when: 'too many requests are in flight; ask again later',
    http: 503,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  REDIS_UNAVAILABLE: {
    when: 'Redis rejected or could not be reached; nothing was sent',
    http: 503,
    grpc: status.UNAVAILABLE,
  },
  STORAGE_FULL: {
    when: 'Redis is out of memory or cannot persist; nothing was stored',
    http: 503,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  TTL_TOO_LONG: {
    when: 'a TTL is over the configured maximum',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  IDEMPOTENCY_KEY_INVALID: {
    when: 'an idempotency key is over 128 bytes, or given for a live-only push',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  ACCEPT_LEVEL_UNAVAILABLE: {
    when: 'the Redis of this shard is not set up for the accept level; nothing was stored',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
  },
  EDGE_ID_IN_USE: {
    when: 'a live edge of the same id has another incarnation',
    http: 409,
    grpc: status.ALREADY_EXISTS,
  },
  SETTINGS_MISMATCH: {
    when: 'a process disagrees with the cluster about a cluster setting',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
  },
  NOT_LEADER: {
    when: 'this control does not lead; the message names the one that does',
    http: 503,
    grpc: status.UNAVAILABLE,
  },
  PLAN_OUTDATED: {
    when: 'the cluster has changed since the plan was made, or moves are under way; plan again',
    http: 409,
    grpc: status.ABORTED,
  },
  INTENT_UNCHANGED: {
    when: 'the edge is already draining, cordoned or neither, as was asked',
    http: 409,
    grpc: status.ALREADY_EXISTS,
  },
  LAST_EDGE: {
    when: 'no other edge could take the shards; it can be forced',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
  },
  INTERNAL: { when: 'a bug; the log says more', http: 500, grpc: status.INTERNAL },
} as const satisfies Record<string, CatalogueEntry>;

export type ErrorCode = keyof typeof catalogue;

/** A rejection on its way to whoever caused it. Returned, not thrown. */
export interface Rejection {
  readonly code: ErrorCode;
  readonly message: string;
  /** In how many seconds to ask again, where that is known. */
  readonly retryAfterS?: number;
}

export function rejection(code: ErrorCode, message: string): Rejection {
  return { code, message };
}

/** The body of every HTTP error: `{"error":{"code":…,"message":…}}`. */
export function errorBody(rejected: Rejection): { error: Rejection } {
  return { error: { code: rejected.code, message: rejected.message } };
}
