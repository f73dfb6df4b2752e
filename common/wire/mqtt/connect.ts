/**
 * CONNECT of MQTT 3.1.1 and 5, which the edge and the router's front read alike: whole, strictly
 * and within a bound. What may be asked for is decided here as far as no setting has a say in it.
 *
 * Clause numbers are those of MQTT 5; where 3.1.1 numbers differently it is named.
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

/** The first byte of every MQTT connection, and of nothing else that is spoken here. */
export const MQTT_CONNECT_BYTE = 0x10;

export interface MqttConnect {
  readonly type: 'connect';
  readonly version: MqttVersion;
  readonly clientId: string;
  /** Clean Start (5), CleanSession (3.1.1): only what comes from now on. */
  readonly isClean: boolean;
  /** 0: none. */
  readonly keepAliveSeconds: number;
  /** The password, or the username without one; undefined: neither was given. */
  readonly token: string | undefined;
  readonly will: MqttWill | undefined;
  /** How long the session outlives the connection; 2^32-1: for ever. */
  readonly sessionExpirySeconds: number;
  /** How many unconfirmed publishes the client takes. */
  readonly receiveMax: number;
  /** Of a packet that the client takes. */
  readonly packetBytesMax: number;
  /** The bytes that follow it are packets already (§3.1.4). */
  readonly byteLength: number;
}

export interface MqttWill {
  readonly qos: number;
  readonly isRetained: boolean;
}

export const SESSION_FOR_EVER = 0xffff_ffff;

/** `MQTT` as a string field, and the level that follows it (§3.1.2.1, §3.1.2.2). */
const NAME = Buffer.from('\0\x04MQTT', 'latin1');
/** MQTT 3.1 and its level. */
const OLD_NAME = Buffer.from('\0\x06MQIsdp\x03', 'latin1');

const FLAG = { clean: 0x02, will: 0x04, willRetain: 0x20, password: 0x40, username: 0x80 };

/**
 * @param bytes all that has come of the connection
 * @param packetBytesMax of the whole packet; more is rejected before it has come
 * @returns 'more' while it is not complete
 */
export function parseMqttConnect(
  bytes: Buffer,
  packetBytesMax: number,
): MqttConnect | MqttFault | 'more' {
  if (bytes.length === 0) return 'more';
  // [MQTT-3.1.0-1], and the flags of the fixed header [MQTT-2.1.3-1].
  if (bytes[0] !== MQTT_CONNECT_BYTE) return malformed('the first packet is no CONNECT');
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

/** Reads on from the connect flags; faults are in `fields`. */
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
    const message = 'no authentication method is known here; send a token as the password';
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
    // In 3.1.1, a session that is not clean has no end (its §3.1.2.4).
    sessionExpirySeconds:
      version === 4 && !isClean
        ? SESSION_FOR_EVER
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
    fields.fail(malformed(`flags of a will without a will ${clauses}`));
  }
  if (version === 4 && flags & FLAG.password && !(flags & FLAG.username)) {
    fields.fail(malformed('a password without a username [MQTT-3.1.2-22] of 3.1.1'));
  }
}

function readWill(fields: MqttFields, flags: number, version: MqttVersion): MqttWill {
  if (version === 5) readProperties(fields, MQTT_PROPERTIES_OF.will);
  const topic = fields.string();
  if (fields.fault === undefined && (topic === '' || /[#+]/.test(topic))) {
    fields.fail(malformed('the topic of the will is no topic name [MQTT-3.3.2-2], [MQTT-4.7.3-1]'));
  }
  fields.binary();
  return { qos: (flags >> 3) & 3, isRetained: (flags & FLAG.willRetain) !== 0 };
}

/**
 * A clientId is part of the topic of its pushes, and a topic name has no wildcards [MQTT-3.3.2-2]. An
 * empty one would have to be replaced by one of ours, which no backend could know; so it is rejected
 * as [MQTT-3.1.3-8] allows, with Clean Start or without.
 */
function checkClientId(fields: MqttFields, clientId: string): void {
  if (fields.fault !== undefined) return;
  const reason = MQTT_REASON.clientIdentifierNotValid;
  const rejected = rejectClientId(clientId);
  if (rejected !== undefined) fields.fail({ ...rejected, reason });
  else if (/[#+]/.test(clientId)) {
    const message = 'a clientId with # or + cannot be part of a topic';
    fields.fail({ code: 'CLIENT_ID_INVALID', message, reason });
  }
}

/** [MQTT-3.1.2-2]: in the words of the version that is nearest. */
function unsupported(level: number): MqttFault {
  return {
    code: 'MQTT_VERSION_UNSUPPORTED',
    message: `expected MQTT 3.1.1 (level 4) or 5, not level ${level}`,
    reason: MQTT_REASON.unsupportedProtocolVersion,
    version: level < 4 ? 4 : 5,
  };
}

/** Of a CONNECT that is rejected by its length, if that much of it has come. */
function versionIn(bytes: Buffer): MqttVersion | undefined {
  const at = bytes.subarray(0, 12).indexOf(NAME);
  const level = at < 0 ? undefined : bytes[at + NAME.length];
  return level === 4 || level === 5 ? level : undefined;
}
