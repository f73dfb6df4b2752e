/**
 * The error catalogue: every rejection that a device, backend or operator can receive. A rejection
 * means that a request is invalid or cannot be served. Its code is stable for ever; its message
 * says what was wrong and what to do. Each protocol maps the code to its own status at its
 * boundary.
 */
import { status } from '@grpc/grpc-js';

interface CatalogueEntry {
  /** Condition for the rejection, in sentences; the source of the error reference. */
  readonly when: string;
  readonly http: number;
  readonly grpc: status;
}

export const catalogue = {
  CLIENT_ID_INVALID: {
    when: 'The clientId is empty, longer than 256 bytes, not UTF-8, or contains a control character.',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  REQUEST_MALFORMED: {
    when: 'The request cannot be parsed, or a required part is missing.',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  UNAUTHENTICATED: {
    when: 'The request has no credentials, or invalid ones.',
    http: 401,
    grpc: status.UNAUTHENTICATED,
  },
  TOKEN_EXPIRED: {
    when: 'The token or resume ticket of the device has expired. Connect again with a new token.',
    http: 401,
    grpc: status.UNAUTHENTICATED,
  },
  PERMISSION_DENIED: {
    when: 'The credentials are valid but do not permit the request: they are for another clientId, or lack the scope.',
    http: 403,
    grpc: status.PERMISSION_DENIED,
  },
  ORIGIN_NOT_ALLOWED: {
    when: 'The Origin of a WebSocket handshake is not in LONGLINE_CORS_ORIGINS.',
    http: 403,
    grpc: status.PERMISSION_DENIED,
  },
  NOT_FOUND: { when: 'The path or object does not exist.', http: 404, grpc: status.NOT_FOUND },
  METHOD_NOT_ALLOWED: {
    when: 'The path exists but does not support the method.',
    http: 405,
    grpc: status.UNIMPLEMENTED,
  },
  HEAD_TIMEOUT: {
    when: 'The request head was not complete within the configured time.',
    http: 408,
    grpc: status.DEADLINE_EXCEEDED,
  },
  PAYLOAD_TOO_LARGE: {
    when: 'The payload or request body exceeds the configured maximum. A gRPC message over the limit on messages has this code and the status RESOURCE_EXHAUSTED.',
    http: 413,
    grpc: status.INVALID_ARGUMENT,
  },
  TARGET_TOO_LONG: {
    when: 'The request line exceeds the maximum size of a request head.',
    http: 414,
    grpc: status.INVALID_ARGUMENT,
  },
  WEBSOCKET_VERSION_UNSUPPORTED: {
    when: 'The WebSocket version of the handshake is not 13.',
    http: 426,
    grpc: status.INVALID_ARGUMENT,
  },
  HEAD_TOO_LARGE: {
    when: 'The request head or MQTT packet exceeds the configured maximum, or has more than 100 header lines.',
    http: 431,
    grpc: status.INVALID_ARGUMENT,
  },
  HTTP_VERSION_UNSUPPORTED: {
    when: 'The HTTP version is neither 1.0 nor 1.1.',
    http: 505,
    grpc: status.INVALID_ARGUMENT,
  },
  MQTT_VERSION_UNSUPPORTED: {
    when: 'The MQTT version is neither 3.1.1 nor 5.',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  PROXY_MALFORMED: {
    when: 'The PROXY header cannot be parsed.',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  PROXY_NOT_ALLOWED: {
    when: 'The sender of a PROXY header is not in LONGLINE_PROXY_NETWORKS.',
    http: 403,
    grpc: status.PERMISSION_DENIED,
  },
  PREFIX_FULL: {
    when: 'The IP address (for IPv6, its /64 prefix) has the maximum number of connections. Close some, or retry later.',
    http: 429,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  EDGE_FULL: {
    when: 'The edge has the maximum number of connections. Retry later.',
    http: 503,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  GUESTS_FULL: {
    when: 'Another edge owns the shard of the client, the client cannot follow a redirect, and this edge serves the maximum number of shards for guests. Retry later.',
    http: 503,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  FRONT_FULL: {
    when: 'The front proxy has the maximum number of connections. Retry later.',
    http: 503,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  NO_EDGE: {
    when: 'No edge owns the shard of the client at the moment. Retry later.',
    http: 503,
    grpc: status.UNAVAILABLE,
  },
  EDGE_UNREACHABLE: {
    when: 'The front proxy could not connect to the edge that owns the shard. Retry later.',
    http: 503,
    grpc: status.UNAVAILABLE,
  },
  NOT_READY: {
    when: 'The process is starting, stopping or cannot currently serve the request. Retry later.',
    http: 503,
    grpc: status.UNAVAILABLE,
  },
  RATE_LIMITED: {
    when: 'The caller or the client is over its pushes per second. Retry later.',
    http: 429,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  OVERLOADED: {
    when: 'Too many requests or handshakes are in progress, or the process is short of memory. Retry later.',
    http: 503,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  REDIS_UNAVAILABLE: {
    when: 'Redis is unreachable or rejected the command. Nothing was sent.',
    http: 503,
    grpc: status.UNAVAILABLE,
  },
  STORAGE_FULL: {
    when: 'Redis is out of memory or cannot persist. Nothing was stored.',
    http: 503,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  TTL_TOO_LONG: {
    when: 'The TTL exceeds the configured maximum.',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  IDEMPOTENCY_KEY_INVALID: {
    when: 'The idempotency key is longer than 128 bytes, or the push is live-only.',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  ACCEPT_LEVEL_UNAVAILABLE: {
    when: 'The Redis of the shard is not configured for the accept level. Nothing was stored.',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
  },
  EDGE_ID_IN_USE: {
    when: 'A live edge with the same id and another incarnation is connected to control.',
    http: 409,
    grpc: status.ALREADY_EXISTS,
  },
  SETTINGS_MISMATCH: {
    when: 'A cluster setting of the process differs from that of the cluster.',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
  },
  NOT_LEADER: {
    when: 'This control is not the leader. The message names the leader.',
    http: 503,
    grpc: status.UNAVAILABLE,
  },
  DEADLINE_EXCEEDED: {
    when: 'The deadline of the call passed, or leaves no time for a push. A push of a batch with this code was not sent.',
    http: 504,
    grpc: status.DEADLINE_EXCEEDED,
  },
  PLAN_OUTDATED: {
    when: 'The cluster has changed since the plan was made, or moves are in progress. Make a new plan.',
    http: 409,
    grpc: status.ABORTED,
  },
  INTENT_UNCHANGED: {
    when: 'The edge is already draining, cordoned or neither, as requested.',
    http: 409,
    grpc: status.ALREADY_EXISTS,
  },
  LAST_EDGE: {
    when: 'No other edge could own the shards. Use `force` to proceed.',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
  },
  INTERNAL: {
    when: 'An internal error. The log has the details.',
    http: 500,
    grpc: status.INTERNAL,
  },
} as const satisfies Record<string, CatalogueEntry>;

export type ErrorCode = keyof typeof catalogue;

/** A request that is rejected. Returned, not thrown. */
export interface Rejection {
  readonly code: ErrorCode;
  readonly message: string;
  /** Seconds after which to retry, where known. */
  readonly retryAfterS?: number;
}

export function rejection(code: ErrorCode, message: string): Rejection {
  return { code, message };
}

/** The body of every HTTP error: `{"error":{"code":…,"message":…}}`. */
export function errorBody(rejected: Rejection): { error: Rejection } {
  return { error: { code: rejected.code, message: rejected.message } };
}
