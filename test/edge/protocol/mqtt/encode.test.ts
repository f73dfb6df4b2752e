import { describe, expect, test } from '@jest/globals';
import { type Packet, parser } from 'mqtt-packet';
import {
  connackPacket,
  disconnectPacket,
  MQTT_PINGRESP,
  publishPacket,
  receiptPacket,
  subackPacket,
  unsubackPacket,
} from '../../../../edge/protocol/mqtt/encode.js';

/** Parses a packet with an independent client library. */
function read(bytes: Buffer, protocolVersion: 4 | 5): Packet {
  const packets: Packet[] = [];
  const reading = parser({ protocolVersion });
  reading.on('packet', (packet: Packet) => packets.push(packet));
  reading.on('error', (error: Error) => {
    throw error;
  });
  expect(reading.parse(bytes)).toBe(0);
  expect(packets).toHaveLength(1);
  return packets[0]!;
}

const message = (payload: string, contentType = '', ttlMs = 0) => ({
  id: '1-0',
  payload: Buffer.from(payload),
  contentType,
  ttlMs,
});

describe('packets of MQTT 3.1.1', () => {
  test.each([
    ['CONNACK', connack(4, true), '20 02 01 00'],
    ['PUBLISH of QoS 0', publishPacket(4, 'push/a', 0, message('x')), '30 09 0006 707573682f61 78'],
    [
      'PUBLISH of QoS 1',
      publishPacket(4, 'a', 513, message('x', 'text/plain', 9)),
      '32 06 0001 61 0201 78',
    ],
    ['SUBACK', subackPacket(4, 1, [0, 1, 0x80]), '90 05 0001 00 01 80'],
    ['UNSUBACK', unsubackPacket(4, 1, [0]), 'b0 02 0001'],
    ['PINGRESP', MQTT_PINGRESP, 'd0 00'],
  ])('%s', (_name, bytes, expected) => {
    expect(bytes.toString('hex')).toBe(expected.replaceAll(' ', ''));
  });
});

describe('packets of MQTT 5', () => {
  test.each([
    ['PUBLISH', publishPacket(5, 'a', 1, message('x')), '32 07 0001 61 0001 00 78'],
    ['SUBACK', subackPacket(5, 1, [1, 0x8f]), '90 05 0001 00 01 8f'],
    ['UNSUBACK', unsubackPacket(5, 1, [0, 0x11]), 'b0 05 0001 00 00 11'],
    ['PUBACK', receiptPacket(5, 1, 1, 0x87), '40 03 0001 87'],
    ['PUBREC', receiptPacket(5, 2, 1, 0x87), '50 03 0001 87'],
    ['PUBACK of 3.1.1', receiptPacket(4, 1, 1, 0x87), '40 02 0001'],
    ['DISCONNECT', disconnectPacket(0x8e), 'e0 01 8e'],
    ['DISCONNECT with a server', disconnectPacket(0x9c, 'a:1'), 'e0 08 9c 06 1c 0003 613a31'],
  ])('%s', (_name, bytes, expected) => {
    expect(bytes.toString('hex')).toBe(expected.replaceAll(' ', ''));
  });

  test('CONNACK has the capabilities of the server (§3.2.2.3)', () => {
    expect(read(connack(5, false), 5)).toMatchObject({
      cmd: 'connack',
      sessionPresent: false,
      reasonCode: 0,
      properties: {
        maximumQoS: 1,
        retainAvailable: false,
        maximumPacketSize: 8192,
        wildcardSubscriptionAvailable: true,
        subscriptionIdentifiersAvailable: false,
        sharedSubscriptionAvailable: false,
      },
    });
  });

  test('CONNACK has the values that differ from the request', () => {
    const bytes = connackPacket(5, {
      isSessionPresent: true,
      sessionExpirySeconds: 604_800,
      keepAliveSeconds: 1_200,
      packetBytesMax: 8_192,
    });
    expect(read(bytes, 5)).toMatchObject({
      sessionPresent: true,
      properties: { sessionExpiryInterval: 604_800, serverKeepAlive: 1_200 },
    });
  });

  test('PUBLISH has the content type and the expiry of the payload (§3.3.2.3)', () => {
    const bytes = publishPacket(5, 'a', 1, message('{}', 'application/json', 1_001));
    expect(read(bytes, 5)).toMatchObject({
      qos: 1,
      dup: false,
      retain: false,
      messageId: 1,
      properties: {
        contentType: 'application/json',
        payloadFormatIndicator: true,
        messageExpiryInterval: 2,
      },
    });
  });

  test('PUBLISH marks a payload as UTF-8 only if it is, for any content type', () => {
    const bytes = publishPacket(5, 'a', 1, {
      ...message('', 'text/plain'),
      payload: Buffer.from([0xff]),
    });
    expect(read(bytes, 5)).toHaveProperty('properties', { contentType: 'text/plain' });
  });
});

test.each([0, 100, 127, 128, 16_384, 2_097_152])('encodes a payload of %i bytes', (length) => {
  const payload = 'x'.repeat(length);
  for (const version of [4, 5] as const) {
    const bytes = publishPacket(version, 'push/a', 1, message(payload));
    const packet = read(bytes, version);
    expect(packet.cmd === 'publish' && packet.payload.length).toBe(length);
    expect(bytes.subarray(bytes.length - length).equals(Buffer.from(payload))).toBe(true);
  }
});

function connack(version: 4 | 5, isSessionPresent: boolean): Buffer {
  return connackPacket(version, {
    isSessionPresent,
    sessionExpirySeconds: undefined,
    keepAliveSeconds: undefined,
    packetBytesMax: 8_192,
  });
}
