/**
 * Reason codes of MQTT 5 (§2.4), and the CONNACK that rejects a CONNECT with one. MQTT 3.1.1 has
 * only five return codes of CONNACK (its §3.2.2.3); for other reasons the connection is just
 * closed.
 */
import type { ErrorCode, Rejection } from '../../process/errors.js';

/** Protocol level in CONNECT: 4 is MQTT 3.1.1, 5 is MQTT 5. */
export type MqttVersion = 4 | 5;

/** Reason codes in use, with the names of the standard. */
export const MQTT_REASON = {
  success: 0x00,
  noSubscriptionExisted: 0x11,
  unspecifiedError: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  unsupportedProtocolVersion: 0x84,
  clientIdentifierNotValid: 0x85,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  banned: 0x8a,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  topicFilterInvalid: 0x8f,
  topicNameInvalid: 0x90,
  packetIdentifierNotFound: 0x92,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  messageRateTooHigh: 0x96,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  retainNotSupported: 0x9a,
  qosNotSupported: 0x9b,
  useAnotherServer: 0x9c,
  serverMoved: 0x9d,
  sharedSubscriptionsNotSupported: 0x9e,
  connectionRateExceeded: 0x9f,
  subscriptionIdentifiersNotSupported: 0xa1,
} as const;

export type MqttReason = (typeof MQTT_REASON)[keyof typeof MQTT_REASON];

/** An invalid packet, which ends the connection (§4.13). Returned, not thrown. */
export interface MqttFault extends Rejection {
  readonly reason: MqttReason;
  /** Version of the response, if the CONNECT could be parsed that far. */
  readonly version?: MqttVersion;
}

/** The bytes do not follow the format (§1.2, Malformed Packet). */
export function malformed(message: string): MqttFault {
  return { code: 'REQUEST_MALFORMED', message, reason: MQTT_REASON.malformedPacket };
}

/** The bytes follow the format but are not allowed here or now (§1.2, Protocol Error). */
export function protocolError(
  message: string,
  reason: MqttReason = MQTT_REASON.protocolError,
): MqttFault {
  return { code: 'REQUEST_MALFORMED', message, reason };
}

/** Reason codes of rejections that are not specific to MQTT. */
const REASONS: Partial<Record<ErrorCode, MqttReason>> = {
  CLIENT_ID_INVALID: MQTT_REASON.clientIdentifierNotValid,
  REQUEST_MALFORMED: MQTT_REASON.malformedPacket,
  UNAUTHENTICATED: MQTT_REASON.notAuthorized,
  TOKEN_EXPIRED: MQTT_REASON.notAuthorized,
  TOKEN_REVOKED: MQTT_REASON.notAuthorized,
  PERMISSION_DENIED: MQTT_REASON.notAuthorized,
  CLIENT_BLOCKED: MQTT_REASON.banned,
  LABELS_INVALID: MQTT_REASON.notAuthorized,
  GROUP_INVALID: MQTT_REASON.notAuthorized,
  HEAD_TOO_LARGE: MQTT_REASON.packetTooLarge,
  PREFIX_FULL: MQTT_REASON.quotaExceeded,
  EDGE_FULL: MQTT_REASON.quotaExceeded,
  GUESTS_FULL: MQTT_REASON.quotaExceeded,
  FRONT_FULL: MQTT_REASON.quotaExceeded,
  NO_EDGE: MQTT_REASON.serverUnavailable,
  EDGE_UNREACHABLE: MQTT_REASON.serverUnavailable,
  NOT_READY: MQTT_REASON.serverUnavailable,
  OVERLOADED: MQTT_REASON.serverBusy,
  REDIS_UNAVAILABLE: MQTT_REASON.serverUnavailable,
};

export function mqttReasonOf(rejected: Rejection | MqttFault): MqttReason {
  return 'reason' in rejected ? rejected.reason : (REASONS[rejected.code] ?? 0x80);
}

/** MQTT 3.1.1 §3.2.2.3. Reasons that are not here close the connection without a CONNACK. */
const RETURN_CODES: Partial<Record<MqttReason, number>> = {
  [MQTT_REASON.unsupportedProtocolVersion]: 0x01,
  [MQTT_REASON.clientIdentifierNotValid]: 0x02,
  [MQTT_REASON.notAuthorized]: 0x05,
  [MQTT_REASON.banned]: 0x05,
  [MQTT_REASON.topicNameInvalid]: 0x05,
  [MQTT_REASON.retainNotSupported]: 0x05,
  [MQTT_REASON.qosNotSupported]: 0x05,
};

/**
 * Temporary reasons, for which the connection is closed without the CONNACK that §3.2.2.3
 * recommends: mqtt.js never reconnects after a rejecting CONNACK, but does after a closed
 * connection.
 */
const TEMPORARY: ReadonlySet<MqttReason> = new Set([
  MQTT_REASON.serverUnavailable,
  MQTT_REASON.serverBusy,
  MQTT_REASON.quotaExceeded,
]);

const REASON_STRING = 0x1f;

/**
 * Returns the CONNACK that rejects a CONNECT. It is empty, so that the connection is just closed,
 * for temporary reasons, for an unknown version, and for most faults of MQTT 3.1.1 ([MQTT-3.1.4-1]
 * there).
 * @param packetBytesMax Maximum Packet Size of the client, if known
 */
export function connackRejection(
  version: MqttVersion | undefined,
  rejected: Rejection,
  packetBytesMax = Number.POSITIVE_INFINITY,
): Buffer {
  const reason = mqttReasonOf(rejected);
  if (version === undefined || TEMPORARY.has(reason)) return Buffer.alloc(0);
  if (version === 4) {
    const code = RETURN_CODES[reason];
    // [MQTT-3.2.2-4] of 3.1.1: Session Present is 0 in a rejection.
    return code === undefined ? Buffer.alloc(0) : Buffer.from([0x20, 2, 0, code]);
  }
  // Truncated so that both lengths fit in one byte.
  const message = Buffer.from(rejected.message).subarray(0, 100).toString('ascii');
  const properties = 3 + message.length;
  // [MQTT-3.2.2-19]
  if (5 + properties > packetBytesMax) return Buffer.from([0x20, 3, 0, reason, 0]);
  return Buffer.concat([
    Buffer.from([0x20, 3 + properties, 0, reason, properties, REASON_STRING, 0, message.length]),
    Buffer.from(message, 'ascii'),
  ]);
}
