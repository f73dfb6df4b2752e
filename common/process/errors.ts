/**
 * The error catalogue: every rejection that a device, backend or operator can receive. A rejection
 * means that a request is invalid or cannot be served. Its code is stable forever; its message
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
    when: 'The clientId is empty, longer than 256 bytes, not UTF-8, contains a control character, or has nothing before or after its first slash. Or the user is no such clientId, or contains a slash.',
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
  TOKEN_REVOKED: {
    when: 'An operator has revoked the tokens that were issued before a time, this one among them, or a token without `iat`. Connect again with a new token.',
    http: 401,
    grpc: status.UNAUTHENTICATED,
  },
  PERMISSION_DENIED: {
    when: 'The credentials are valid but do not permit the request: they are for another clientId, or lack the scope.',
    http: 403,
    grpc: status.PERMISSION_DENIED,
  },
  CLIENT_BLOCKED: {
    when: 'An operator has blocked the client or its user. Retry-After says for how long.',
    http: 429,
    grpc: status.PERMISSION_DENIED,
  },
  BLOCKS_FULL: {
    when: 'As many clients and users are blocked as can be, 10,000. Unblock some.',
    http: 409,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  REVOCATIONS_FULL: {
    when: 'The tokens of as many users are revoked as can be, 10,000. Remove some, or revoke those of all users.',
    http: 409,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  DISCONNECT_IN_PROGRESS: {
    when: 'Many clients, or 16 single ones, are being disconnected already. Wait until that is finished, or cancel it.',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
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
  REQUEST_TIMEOUT: {
    when: 'The request of a gRPC call has not arrived whole within a minute, or the body of a push over HTTP within 20 s.',
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
  TLS_NOT_ENABLED: {
    when: 'The device speaks TLS to a port without TLS; it receives a TLS alert. Connect with http://, ws:// or mqtt://, or give the port a certificate.',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
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
  USER_DEVICES_TOO_MANY: {
    when: 'The user has more devices than LONGLINE_ROUTER_USER_DEVICES_MAX. Nothing was sent.',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
  },
  GROUP_INVALID: {
    when: 'The name of the group is empty, longer than 256 bytes, not UTF-8, or contains a control character or one of `*`, `+`, `#`. Or the claim of groups in the token of a device is invalid.',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  GROUP_TOO_LARGE: {
    when: 'The group has more members than one watch of presence may have, 10,000.',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
  },
  MEMBER_GROUPS_TOO_MANY: {
    when: 'The client or user is in 1,000 groups, the maximum.',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
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
  LABELS_INVALID: {
    when: 'A label of the device is invalid, it has too many, or its query sets one that LONGLINE_EDGE_QUERY_LABELS does not list.',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  SELECTOR_INVALID: {
    when: 'The label selector cannot be parsed, or is too long. The message names the position.',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  TTL_TOO_LONG: {
    when: 'The TTL exceeds the configured maximum.',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  PUSH_KEY_INVALID: {
    when: 'A collapse or append key is longer than 64 bytes or contains a control character, the push has both or is live-only, or ends a message without naming it.',
    http: 400,
    grpc: status.INVALID_ARGUMENT,
  },
  PUSH_KEYS_TOO_MANY: {
    when: 'The client has 128 collapse and append keys in use. A key is free again when its pushes are confirmed or have expired. Nothing was stored.',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
  },
  APPEND_ENDED: {
    when: 'The growing message of append_to has ended. Nothing was stored.',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
  },
  APPEND_TOO_LARGE: {
    when: 'With this part, the growing message would be larger than LONGLINE_ROUTER_INBOX_BYTES_MAX. Nothing was stored. End it, and begin another.',
    http: 413,
    grpc: status.FAILED_PRECONDITION,
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
  EVENTS_DISABLED: {
    when: 'The request needs events that are not in LONGLINE_EVENTS. Nothing was sent.',
    http: 409,
    grpc: status.FAILED_PRECONDITION,
  },
  EVENT_GROUPS_FULL: {
    when: 'As many groups of event consumers exist as can be, 32. A group that is not read ends after seven days.',
    http: 409,
    grpc: status.RESOURCE_EXHAUSTED,
  },
  CONSUMER_REPLACED: {
    when: 'Another watch of events has the same group and consumer name, and is newer.',
    http: 409,
    grpc: status.ABORTED,
  },
  CONSUMER_STALLED: {
    when: 'An event consumer has not acknowledged an event in time, or does not read. Others get its events; watch again.',
    http: 408,
    grpc: status.DEADLINE_EXCEEDED,
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
