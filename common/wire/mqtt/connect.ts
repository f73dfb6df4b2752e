/**
 * Strict parser for CONNECT of MQTT 3.1.1 and 5 on edges and front proxies. It rejects everything
 * that is invalid regardless of settings.
 *
 * Clause numbers are those of MQTT 5 unless 3.1.1 is named.
 */
import { rejectClientId } from '../client-id.js';
import { frameMqtt, MqttFields } from './fields.js';
import { MQTT_PROPERTIES_OF, MQTT_PROPERTY, readProperties } from './properties.js';
import {
  MQTT_REASON,
  type MqttFault,
  type MqttVersion,
  malformed,
  protocolError,
} from './rejection.js';

/** First byte of an MQTT connection, and of no other supported protocol. */
export const MQTT_CONNECT_BYTE = 0x10;

export interface MqttConnect {
  readonly type: 'connect';
  readonly version: MqttVersion;
  readonly clientId: string;
  /** Clean Start (5) or CleanSession (3.1.1). */
  readonly isClean: boolean;
  /** 0: none. */
  readonly keepAliveSeconds: number;
  /** The password, else the username; undefined without both. */
  readonly token: string | undefined;
  readonly will: MqttWill | undefined;
  /** Lifetime of the session after the connection; `SESSION_NEVER_EXPIRES`: unlimited. */
  readonly sessionExpirySeconds: number;
  /** Receive Maximum: unacknowledged publishes that the client accepts. */
  readonly receiveMax: number;
  /** Maximum Packet Size that the client accepts; Infinity: no limit. */
  readonly packetBytesMax: number;
  /** Length of the CONNECT; further packets may follow at once (§3.1.4). */
  readonly byteLength: number;
}

export interface MqttWill {
  readonly qos: number;
  readonly isRetained: boolean;
}

export const SESSION_NEVER_EXPIRES = 0xffff_ffff;

/** The protocol name `MQTT` as a string field, which the level follows (§3.1.2.1, §3.1.2.2). */
const NAME = Buffer.from('\0\x04MQTT', 'latin1');
/** Protocol name of MQTT 3.1. */
const OLD_NAME = Buffer.from('\0\x06MQIsdp', 'latin1');
/** Set in the level by the bridges of some brokers. */
const BRIDGE = 0x80;

const FLAG = { clean: 0x02, will: 0x04, willRetain: 0x20, password: 0x40, username: 0x80 };

/**
 * @param bytes all bytes of the connection so far
 * @param packetBytesMax maximum size of the packet; a larger one is rejected by its header
 * @returns 'more' while the packet is incomplete
 */
export function parseMqttConnect(
  bytes: Buffer,
  packetBytesMax: number,
): MqttConnect | MqttFault | 'more' {
  if (bytes.length === 0) return 'more';
  // [MQTT-3.1.0-1], and the flags of the fixed header [MQTT-2.1.3-1].
  if (bytes[0] !== MQTT_CONNECT_BYTE) return malformed('the first packet is not CONNECT');
  const frame = frameMqtt(bytes, 0, packetBytesMax);
  if (frame === 'more') return 'more';
  if ('code' in frame) {
    const version = versionIn(bytes);
    return version === undefined ? frame : { ...frame, version };
  }
  const body = bytes.subarray(frame.start, frame.end);
  if (body.subarray(0, OLD_NAME.length).equals(OLD_NAME)) return unsupported(3);
  if (!body.subarray(0, NAME.length).equals(NAME) || body.length === NAME.length) {
    return malformed('the protocol name is not MQTT [MQTT-3.1.2-1]');
  }
  const level = body[NAME.length]!;
  if (level !== 4 && level !== 5) return unsupported(level);
  const fields = new MqttFields(bytes, { start: frame.start + NAME.length + 1, end: frame.end });
  const connect = readConnect(fields, level, frame.end);
  return fields.fault === undefined ? connect : { ...fields.fault, version: level };
}

/** Reads from the connect flags to the end; faults are in `fields`. */
function readConnect(fields: MqttFields, version: MqttVersion, byteLength: number): MqttConnect {
  const flags = fields.byte();
  checkFlags(fields, flags, version);
  const keepAliveSeconds = fields.uint16();
  const properties =
    version === 5 ? readProperties(fields, MQTT_PROPERTIES_OF.connect) : new Map<number, number>();
  const clientId = fields.string();
  const will = flags & FLAG.will ? readWill(fields, flags, version) : undefined;
  const username = flags & FLAG.username ? fields.string() : undefined;
  const password = flags & FLAG.password ? fields.binary().toString() : undefined;
  fields.finish();
  checkClientId(fields, clientId);
  if (properties.has(MQTT_PROPERTY.authenticationMethod)) {
    // [MQTT-4.12.0-1]
    const message = 'enhanced authentication is not supported; send a token as the password';
    fields.fail({ code: 'UNAUTHENTICATED', message, reason: MQTT_REASON.badAuthenticationMethod });
  } else if (properties.has(MQTT_PROPERTY.authenticationData)) {
    fields.fail(protocolError('authentication data without a method (§3.1.2.11.10)'));
  }
  const isClean = (flags & FLAG.clean) !== 0;
  return {
    type: 'connect',
    version,
    clientId,
    isClean,
    keepAliveSeconds,
    token: password ?? username,
    will,
    // A session with CleanSession 0 does not expire (3.1.1 §3.1.2.4).
    sessionExpirySeconds:
      version === 4 && !isClean
        ? SESSION_NEVER_EXPIRES
        : (properties.get(MQTT_PROPERTY.sessionExpiryInterval) ?? 0),
    receiveMax: properties.get(MQTT_PROPERTY.receiveMaximum) ?? 65_535,
    packetBytesMax: properties.get(MQTT_PROPERTY.maximumPacketSize) ?? Number.POSITIVE_INFINITY,
    byteLength,
  };
}

function checkFlags(fields: MqttFields, flags: number, version: MqttVersion): void {
  const willQos = (flags >> 3) & 3;
  if (flags & 1) fields.fail(malformed('the reserved connect flag is set [MQTT-3.1.2-3]'));
  if (willQos === 3) fields.fail(malformed('the QoS of the will is 3 [MQTT-3.1.2-12]'));
  if (!(flags & FLAG.will) && (willQos > 0 || flags & FLAG.willRetain)) {
    const clauses = '[MQTT-3.1.2-11], [MQTT-3.1.2-13]';
    fields.fail(malformed(`will flags are set without a will ${clauses}`));
  }
  if (version === 4 && flags & FLAG.password && !(flags & FLAG.username)) {
    fields.fail(malformed('a password without a username [MQTT-3.1.2-22] of 3.1.1'));
  }
}

function readWill(fields: MqttFields, flags: number, version: MqttVersion): MqttWill {
  if (version === 5) readProperties(fields, MQTT_PROPERTIES_OF.will);
  const topic = fields.string();
  if (fields.fault === undefined && (topic === '' || /[#+]/.test(topic))) {
    fields.fail(malformed('the will topic is not a topic name [MQTT-3.3.2-2], [MQTT-4.7.3-1]'));
  }
  fields.binary();
  return { qos: (flags >> 3) & 3, isRetained: (flags & FLAG.willRetain) !== 0 };
}

/**
 * The topic of pushes contains the clientId, and topic names have no wildcards [MQTT-3.3.2-2]. An
 * empty clientId is rejected, with Clean Start or without, as [MQTT-3.1.3-8] allows: backends could
 * not know one that the server assigns.
 */
function checkClientId(fields: MqttFields, clientId: string): void {
  if (fields.fault !== undefined) return;
  const reason = MQTT_REASON.clientIdentifierNotValid;
  const rejected = rejectClientId(clientId);
  if (rejected !== undefined) fields.fail({ ...rejected, reason });
  else if (/[#+]/.test(clientId)) {
    const message = 'the clientId contains # or +, which cannot be part of a topic name';
    fields.fail({ code: 'CLIENT_ID_INVALID', message, reason });
  }
}

/** [MQTT-3.1.2-2], encoded for the nearest supported version. */
function unsupported(level: number): MqttFault {
  return {
    code: 'MQTT_VERSION_UNSUPPORTED',
    message: `protocol level ${level} is not supported; use MQTT 3.1.1 (level 4) or 5`,
    reason: MQTT_REASON.unsupportedProtocolVersion,
    version: (level & ~BRIDGE) <= 4 ? 4 : 5,
  };
}

/** Returns the version of a CONNECT that is too long, if enough of it has been received. */
function versionIn(bytes: Buffer): MqttVersion | undefined {
  const at = bytes.subarray(0, 12).indexOf(NAME);
  const level = at < 0 ? undefined : bytes[at + NAME.length];
  return level === 4 || level === 5 ? level : undefined;
}
