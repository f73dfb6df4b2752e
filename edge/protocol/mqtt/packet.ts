/**
 * Strict parser for the packets of a client after CONNECT (MQTT 5 §3; 3.1.1 is the same without
 * properties). Packets that only a server sends, and features that only publishers need, are
 * faults.
 */
import { MqttFields, type MqttFrame } from '../../../common/wire/mqtt/fields.js';
import {
  MQTT_PROPERTIES_OF,
  MQTT_PROPERTY,
  type MqttProperties,
  readProperties,
} from '../../../common/wire/mqtt/properties.js';
import {
  MQTT_REASON,
  type MqttFault,
  type MqttVersion,
  malformed,
  protocolError,
} from '../../../common/wire/mqtt/rejection.js';
import { isSharedFilter, isTopicFilter } from './topic.js';

export type MqttPacket =
  | MqttPublish
  | MqttAck
  | {
      readonly type: 'subscribe';
      readonly packetId: number;
      readonly filters: readonly RequestedFilter[];
    }
  | { readonly type: 'unsubscribe'; readonly packetId: number; readonly filters: readonly string[] }
  | { readonly type: 'pingreq' }
  | {
      readonly type: 'disconnect';
      readonly reason: number;
      /** Undefined: the value of CONNECT still holds. */
      readonly sessionExpirySeconds: number | undefined;
    };

export interface MqttPublish {
  readonly type: 'publish';
  /** 0 for QoS 0. */
  readonly packetId: number;
  readonly qos: number;
  /** Fault of a retained message, or one of QoS 2, where publishing is rejected. */
  readonly unsupported: MqttFault | undefined;
}

export interface MqttAck {
  readonly type: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp';
  readonly packetId: number;
  /** Reason code; always 0 (success) in 3.1.1. */
  readonly reason: number;
}

export interface RequestedFilter {
  readonly filter: string;
  readonly qos: number;
}

/** Packet types: the upper four bits of the first byte (§2.1.2). */
const TYPE = {
  connect: 1,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  unsubscribe: 10,
  pingreq: 12,
  disconnect: 14,
  auth: 15,
};

/** Types whose flags, the lower four bits, are 2; those of all others are 0 [MQTT-2.1.3-1]. */
const FLAGGED = new Set([TYPE.pubrel, TYPE.subscribe, TYPE.unsubscribe]);

/** Reason codes of PUBACK and PUBREC (§3.4.2.1, §3.5.2.1). */
const RECEIPT_REASONS = new Set([0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);
/** Reason codes of PUBREL and PUBCOMP (§3.6.2.1, §3.7.2.1). */
const RELEASE_REASONS = new Set([0x00, 0x92]);
/** Reason codes of DISCONNECT that a client may send (§3.14.2.1). */
const DISCONNECT_REASONS = new Set([
  0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
]);

const NO_PROPERTIES: MqttProperties = new Map();

/**
 * @param first first byte of the packet
 * @param frame bounds of the rest of the packet within `bytes`
 */
export function parseMqttPacket(
  first: number,
  bytes: Buffer,
  frame: MqttFrame,
  version: MqttVersion,
): MqttPacket | MqttFault {
  const fields = new MqttFields(bytes, frame);
  const packet = readPacket(first, fields, version);
  return fields.fault ?? packet;
}

function readPacket(
  first: number,
  fields: MqttFields,
  version: MqttVersion,
): MqttPacket | MqttFault {
  const type = first >> 4;
  if (type === TYPE.publish) return readPublish(first, fields, version);
  const flags = FLAGGED.has(type) ? 0x02 : 0;
  if ((first & 0x0f) !== flags) return malformed('invalid reserved flags [MQTT-2.1.3-1]');
  switch (type) {
    case TYPE.puback:
      return { type: 'puback', ...readAck(fields, version, RECEIPT_REASONS) };
    case TYPE.pubrec:
      return { type: 'pubrec', ...readAck(fields, version, RECEIPT_REASONS) };
    case TYPE.pubrel:
      return { type: 'pubrel', ...readAck(fields, version, RELEASE_REASONS) };
    case TYPE.pubcomp:
      return { type: 'pubcomp', ...readAck(fields, version, RELEASE_REASONS) };
    case TYPE.subscribe:
      return readSubscribe(fields, version);
    case TYPE.unsubscribe:
      return readUnsubscribe(fields, version);
    case TYPE.pingreq:
      fields.finish();
      return { type: 'pingreq' };
    case TYPE.disconnect:
      return readDisconnect(fields, version);
    case TYPE.connect:
      return protocolError('a second CONNECT [MQTT-3.1.0-2]');
    case TYPE.auth:
      if (version === 5) return protocolError('AUTH without a method in CONNECT [MQTT-4.12.0-7]');
      return malformed('packet type 15 is forbidden (3.1.1 §2.2.1)');
    case 0:
      return malformed('packet type 0 is forbidden (§2.1.2)');
    default:
      return protocolError(`unexpected packet type ${type} from a client (§2.1.2)`);
  }
}

/** Devices cannot publish; each fault has the most specific reason code of the standard. */
function readPublish(
  first: number,
  fields: MqttFields,
  version: MqttVersion,
): MqttPacket | MqttFault {
  const qos = (first >> 1) & 3;
  if (qos === 3) return malformed('invalid QoS 3 [MQTT-3.3.1-4]');
  if (qos === 0 && first & 0x08) return malformed('DUP with QoS 0 [MQTT-3.3.1-2]');
  const topic = fields.string();
  const packetId = qos > 0 ? fields.packetId() : 0;
  const properties = readPropertiesOf('publish', fields, version);
  if (fields.fault !== undefined) return fields.fault;
  if (properties.has(MQTT_PROPERTY.topicAlias)) {
    const message = 'topic aliases are not supported [MQTT-3.3.2-9]';
    return protocolError(message, MQTT_REASON.topicAliasInvalid);
  }
  if (topic === '') return protocolError('empty topic name [MQTT-4.7.3-1]');
  if (/[#+]/.test(topic)) {
    const message = 'topic name contains wildcards [MQTT-3.3.2-2]';
    return protocolError(message, MQTT_REASON.topicNameInvalid);
  }
  return { type: 'publish', packetId, qos, unsupported: unsupportedFault(first, qos) };
}

function unsupportedFault(first: number, qos: number): MqttFault | undefined {
  if (first & 0x01) {
    const message = 'retained messages are not supported [MQTT-3.2.2-14]';
    return protocolError(message, MQTT_REASON.retainNotSupported);
  }
  if (qos < 2) return undefined;
  return protocolError('QoS 2 is not supported [MQTT-3.2.2-11]', MQTT_REASON.qosNotSupported);
}

function readAck(
  fields: MqttFields,
  version: MqttVersion,
  reasons: ReadonlySet<number>,
): { packetId: number; reason: number } {
  const packetId = fields.packetId();
  let reason = 0;
  if (version === 5 && fields.remaining > 0) {
    reason = fields.byte();
    if (!reasons.has(reason)) {
      fields.fail(protocolError('invalid reason code [MQTT-3.4.2-1], [MQTT-3.6.2-1]'));
    }
    if (fields.remaining > 0) readProperties(fields, MQTT_PROPERTIES_OF.ack);
  }
  fields.finish();
  return { packetId, reason };
}

function readSubscribe(fields: MqttFields, version: MqttVersion): MqttPacket | MqttFault {
  const packetId = fields.packetId();
  const properties = readPropertiesOf('subscribe', fields, version);
  if (properties.has(MQTT_PROPERTY.subscriptionIdentifier)) {
    const message = 'subscription identifiers are not supported (§3.2.2.3.12)';
    return protocolError(message, MQTT_REASON.subscriptionIdentifiersNotSupported);
  }
  const filters: RequestedFilter[] = [];
  while (fields.remaining > 0) {
    const filter = readFilter(fields);
    const options = fields.byte();
    const fault = optionsFault(options, filter, version);
    if (fault !== undefined) fields.fail(fault);
    filters.push({ filter, qos: options & 3 });
  }
  if (filters.length === 0) return protocolError('no topic filter [MQTT-3.8.3-2]');
  return { type: 'subscribe', packetId, filters };
}

function optionsFault(
  options: number,
  filter: string,
  version: MqttVersion,
): MqttFault | undefined {
  const qos = options & 3;
  if (options & (version === 4 ? 0xfc : 0xc0)) {
    return malformed('reserved bits set in subscription options [MQTT-3.8.3-5]');
  }
  if (qos === 3) return protocolError('subscription with invalid QoS 3 (§3.8.3.1)');
  if (((options >> 4) & 3) === 3) return protocolError('invalid retain handling 3 (§3.8.3.1)');
  if (options & 0x04 && isSharedFilter(filter)) {
    return protocolError('No Local on a shared subscription [MQTT-3.8.3-4]');
  }
  return undefined;
}

function readUnsubscribe(fields: MqttFields, version: MqttVersion): MqttPacket | MqttFault {
  const packetId = fields.packetId();
  readPropertiesOf('unsubscribe', fields, version);
  const filters: string[] = [];
  while (fields.remaining > 0) filters.push(readFilter(fields));
  if (filters.length === 0) return protocolError('no topic filter [MQTT-3.10.3-2]');
  return { type: 'unsubscribe', packetId, filters };
}

function readFilter(fields: MqttFields): string {
  const filter = fields.string();
  if (!isTopicFilter(filter)) {
    fields.fail(malformed('invalid topic filter [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1]'));
  }
  return filter;
}

function readDisconnect(fields: MqttFields, version: MqttVersion): MqttPacket | MqttFault {
  let reason = 0;
  let sessionExpirySeconds: number | undefined;
  if (version === 5 && fields.remaining > 0) {
    reason = fields.byte();
    if (!DISCONNECT_REASONS.has(reason)) {
      return protocolError('invalid reason code in DISCONNECT [MQTT-3.14.2-1]');
    }
    if (fields.remaining > 0) {
      const properties = readProperties(fields, MQTT_PROPERTIES_OF.disconnect);
      sessionExpirySeconds = properties.get(MQTT_PROPERTY.sessionExpiryInterval);
    }
  }
  fields.finish();
  return { type: 'disconnect', reason, sessionExpirySeconds };
}

function readPropertiesOf(
  packet: keyof typeof MQTT_PROPERTIES_OF,
  fields: MqttFields,
  version: MqttVersion,
): MqttProperties {
  return version === 5 ? readProperties(fields, MQTT_PROPERTIES_OF[packet]) : NO_PROPERTIES;
}
