/**
 * Encoder for the packets that a server sends (MQTT 5 §3; 3.1.1 is the same without properties).
 */
import { isUtf8 } from 'node:buffer';
import { MQTT_PROPERTY as P } from '../../../common/wire/mqtt/properties.js';
import {
  MQTT_REASON,
  type MqttReason,
  type MqttVersion,
} from '../../../common/wire/mqtt/rejection.js';
import { isTextual } from '../content-type.js';
import type { Message } from '../protocol.js';

export const MQTT_PINGRESP = Buffer.from([0xd0, 0]);

const NO_BYTES = Buffer.alloc(0);

/** Size of the longest CONNACK, with all properties. */
export const CONNACK_BYTES_MAX = 28;

/** CONNACK of an accepted client (§3.2). */
export interface Connack {
  readonly isSessionPresent: boolean;
  /** Undefined: as requested. This and the following fields are sent in MQTT 5 only. */
  readonly sessionExpirySeconds: number | undefined;
  /** Undefined: as requested. */
  readonly keepAliveSeconds: number | undefined;
  /** Maximum size of an inbound packet. */
  readonly packetBytesMax: number;
}

export function connackPacket(version: MqttVersion, connack: Connack): Buffer {
  const { isSessionPresent, sessionExpirySeconds, keepAliveSeconds, packetBytesMax } = connack;
  const head = Buffer.from([isSessionPresent ? 1 : 0, 0]);
  if (version === 4) return packet(0x20, head);
  const properties: Buffer[] = [
    byteProperty(P.maximumQos, 1),
    byteProperty(P.retainAvailable, 0),
    uint32Property(P.maximumPacketSize, packetBytesMax),
    byteProperty(P.wildcardSubscriptionAvailable, 1),
    byteProperty(P.subscriptionIdentifiersAvailable, 0),
    byteProperty(P.sharedSubscriptionAvailable, 0),
  ];
  if (sessionExpirySeconds !== undefined) {
    properties.push(uint32Property(P.sessionExpiryInterval, sessionExpirySeconds));
  }
  if (keepAliveSeconds !== undefined) {
    const [high, low] = [keepAliveSeconds >> 8, keepAliveSeconds & 0xff];
    properties.push(Buffer.from([P.serverKeepAlive, high, low]));
  }
  return packet(0x20, head, withLength(properties));
}

/**
 * @param packetId 0 for QoS 0
 * @param isDuplicate whether an earlier connection may have delivered it [MQTT-3.3.1-1]
 */
export function publishPacket(
  version: MqttVersion,
  topic: string,
  packetId: number,
  message: Message,
  isDuplicate = false,
): Buffer {
  const first = 0x30 | (isDuplicate ? 0x08 : 0) | (packetId === 0 ? 0 : 0x02);
  const id = packetId === 0 ? NO_BYTES : uint16(packetId);
  const properties = version === 5 ? withLength(publishProperties(message)) : NO_BYTES;
  return packet(first, stringField(topic), id, properties, message.payload);
}

/** @param reasons one per filter: the granted QoS or an error (§3.9.3) */
export function subackPacket(
  version: MqttVersion,
  packetId: number,
  reasons: readonly number[],
): Buffer {
  return packet(
    0x90,
    uint16(packetId),
    version === 5 ? withLength([]) : NO_BYTES,
    Buffer.from(reasons),
  );
}

/** @param reasons one per filter; 3.1.1 has no field for them */
export function unsubackPacket(
  version: MqttVersion,
  packetId: number,
  reasons: readonly number[],
): Buffer {
  if (version === 4) return packet(0xb0, uint16(packetId));
  return packet(0xb0, uint16(packetId), withLength([]), Buffer.from(reasons));
}

/**
 * PUBACK for QoS 1 or PUBREC for QoS 2 of a message that is dropped. In MQTT 5 it rejects the
 * message; 3.1.1 has no field for the reason.
 */
export function receiptPacket(
  version: MqttVersion,
  qos: number,
  packetId: number,
  reason: MqttReason,
): Buffer {
  const first = qos === 1 ? 0x40 : 0x50;
  return packet(first, uint16(packetId), version === 5 ? Buffer.from([reason]) : NO_BYTES);
}

/** Response to a PUBREC with an unknown packet identifier (§3.6). */
export function pubrelPacket(version: MqttVersion, packetId: number): Buffer {
  return packet(0x62, uint16(packetId), unknownId(version));
}

/** Response to a PUBREL with an unknown packet identifier [MQTT-4.3.3-11]. */
export function pubcompPacket(version: MqttVersion, packetId: number): Buffer {
  return packet(0x70, uint16(packetId), unknownId(version));
}

function unknownId(version: MqttVersion): Buffer {
  return version === 5 ? Buffer.from([MQTT_REASON.packetIdentifierNotFound]) : NO_BYTES;
}

/**
 * MQTT 5 only.
 * @param serverReference `host:port` to connect to; undefined if the edge names none
 */
export function disconnectPacket(reason: MqttReason, serverReference?: string): Buffer {
  if (serverReference === undefined) return packet(0xe0, Buffer.from([reason]));
  const reference = [Buffer.from([P.serverReference]), stringField(serverReference)];
  return packet(0xe0, Buffer.from([reason]), withLength(reference));
}

function publishProperties({ payload, contentType, ttlMs, appended }: Message): Buffer[] {
  const properties: Buffer[] = [];
  // §3.3.2.3.2: only for a textual content type with a UTF-8 payload.
  if (isTextual(contentType) && isUtf8(payload)) {
    properties.push(byteProperty(P.payloadFormatIndicator, 1));
  }
  // §3.3.2.3.3, in whole seconds. A live-only push has no expiry.
  if (ttlMs > 0) properties.push(uint32Property(P.messageExpiryInterval, Math.ceil(ttlMs / 1000)));
  if (contentType !== '') {
    properties.push(Buffer.from([P.contentType]), stringField(contentType));
  }
  if (appended !== undefined) {
    properties.push(...userProperty('append-to', appended.to));
    properties.push(...userProperty('append-offset', `${appended.offset}`));
    if (appended.isEnd) properties.push(...userProperty('append-end', 'true'));
  }
  return properties;
}

function userProperty(name: string, value: string): Buffer[] {
  return [Buffer.from([P.userProperty]), stringField(name), stringField(value)];
}

function packet(first: number, ...parts: Buffer[]): Buffer {
  const length = parts.reduce((sum, { length }) => sum + length, 0);
  return Buffer.concat([Buffer.from([first, ...variableInt(length)]), ...parts]);
}

/** Properties with their length prefix (§2.2.2.1). */
function withLength(properties: readonly Buffer[]): Buffer {
  const all = Buffer.concat(properties);
  return Buffer.concat([Buffer.from(variableInt(all.length)), all]);
}

/** §1.5.5 */
function variableInt(value: number): number[] {
  const bytes: number[] = [];
  let remaining = value;
  for (; remaining > 0x7f; remaining = Math.floor(remaining / 128)) {
    bytes.push((remaining % 128) | 0x80);
  }
  bytes.push(remaining);
  return bytes;
}

function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

function stringField(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([uint16(bytes.length), bytes]);
}

function byteProperty(id: number, value: number): Buffer {
  return Buffer.from([id, value]);
}

function uint32Property(id: number, value: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = id;
  bytes.writeUInt32BE(value, 1);
  return bytes;
}
