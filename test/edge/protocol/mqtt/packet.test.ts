import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { generate, type Packet } from 'mqtt-packet';
import { frameMqtt } from '../../../../common/wire/mqtt/fields.js';
import type { MqttVersion } from '../../../../common/wire/mqtt/rejection.js';
import { parseMqttPacket } from '../../../../edge/protocol/mqtt/packet.js';
import { field, hex, packet } from '../../../support/devices/mqtt-bytes.js';

const BYTES_MAX = 1024;

function parse(bytes: Buffer, version: MqttVersion) {
  const frame = frameMqtt(bytes, 0, BYTES_MAX);
  if (frame === 'more' || 'code' in frame) return frame;
  expect(frame.end).toBe(bytes.length);
  return parseMqttPacket(bytes[0]!, bytes, frame, version);
}

function reasonOf(text: string, version: MqttVersion): number | undefined {
  const result = parse(hex(text), version);
  return result !== 'more' && 'reason' in result ? result.reason : undefined;
}

describe('frameMqtt', () => {
  test.each([
    ['00', 0],
    ['7f', 127],
    ['80 01', 128],
    ['ff 7f', 16_383],
    ['80 80 01', 16_384],
    ['ff ff 7f', 2_097_151],
    ['80 80 80 01', 2_097_152],
    ['ff ff ff 7f', 268_435_455],
  ])('parses the length %s of table 1-1 as %i', (text, length) => {
    const bytes = hex(`c0 ${text}`);
    const { start, end } = { start: bytes.length, end: bytes.length + length };
    if (length === 0) expect(frameMqtt(bytes, 0, Infinity)).toEqual({ start, end });
    else expect(frameMqtt(bytes, 0, Infinity)).toBe('more');
    // The whole packet is at the limit, then one byte above it.
    expect(frameMqtt(bytes, 0, end)).not.toHaveProperty('code');
    expect(frameMqtt(bytes, 0, end - 1)).toMatchObject({ reason: 0x95 });
  });

  test('waits for an incomplete length', () => {
    for (const text of ['c0', 'c0 80', 'c0 80 80', 'c0 80 80 80']) {
      expect(frameMqtt(hex(text), 0, BYTES_MAX)).toBe('more');
    }
  });

  test.each(['c0 ff ff ff ff', 'c0 80 80 80 80 01'])('rejects %s of five bytes', (text) => {
    expect(frameMqtt(hex(text), 0, BYTES_MAX)).toMatchObject({ reason: 0x81 });
  });

  test.each(['c0 80 00', 'c0 80 80 00'])('rejects the padded length %s [MQTT-1.5.5-1]', (text) => {
    expect(frameMqtt(hex(text), 0, BYTES_MAX)).toMatchObject({ reason: 0x81 });
  });
});

describe('valid packets', () => {
  test.each([
    [4, '40 02 0001', { type: 'puback', packetId: 1, reason: 0 }],
    [5, '40 02 ffff', { type: 'puback', packetId: 0xffff, reason: 0 }],
    [5, '40 03 0001 10', { type: 'puback', packetId: 1, reason: 0x10 }],
    [5, '40 04 0001 87 00', { type: 'puback', packetId: 1, reason: 0x87 }],
    [5, '40 08 0001 00 04 1f 0001 78', { type: 'puback', packetId: 1, reason: 0 }],
    [4, '50 02 0001', { type: 'pubrec', packetId: 1, reason: 0 }],
    [5, '50 04 0001 97 00', { type: 'pubrec', packetId: 1, reason: 0x97 }],
    [4, '62 02 0001', { type: 'pubrel', packetId: 1, reason: 0 }],
    [5, '62 03 0001 92', { type: 'pubrel', packetId: 1, reason: 0x92 }],
    [5, '70 0b 0001 00 07 26 0001 70 0001 71', { type: 'pubcomp', packetId: 1, reason: 0 }],
    [4, 'c0 00', { type: 'pingreq' }],
    [4, 'e0 00', { type: 'disconnect', reason: 0, sessionExpirySeconds: undefined }],
    [5, 'e0 00', { type: 'disconnect', reason: 0, sessionExpirySeconds: undefined }],
    [5, 'e0 01 04', { type: 'disconnect', reason: 4, sessionExpirySeconds: undefined }],
    [5, 'e0 07 00 05 11 00000010', { type: 'disconnect', reason: 0, sessionExpirySeconds: 16 }],
    [
      4,
      '82 0a 0001 0001 23 01 0001 2b 02',
      {
        type: 'subscribe',
        packetId: 1,
        filters: [
          { filter: '#', qos: 1 },
          { filter: '+', qos: 2 },
        ],
      },
    ],
    [
      5,
      '82 07 0001 00 0001 23 2d',
      { type: 'subscribe', packetId: 1, filters: [{ filter: '#', qos: 1 }] },
    ],
    [4, 'a2 05 0001 0001 23', { type: 'unsubscribe', packetId: 1, filters: ['#'] }],
    [5, 'a2 06 0001 00 0001 23', { type: 'unsubscribe', packetId: 1, filters: ['#'] }],
    [4, '30 04 0001 74 78', { type: 'publish', packetId: 0, qos: 0 }],
    [5, '3a 07 0001 74 0009 00 78', { type: 'publish', packetId: 9, qos: 1 }],
  ] as const)('level %i parses %s', (version, text, expected) => {
    const bytes = hex(text);
    expect(parse(bytes, version)).toEqual(expected);
    for (let cut = 0; cut < bytes.length; cut++) {
      expect(frameMqtt(bytes.subarray(0, cut), 0, BYTES_MAX)).toBe('more');
    }
  });

  test.each<[MqttVersion, Packet]>([
    [4, { cmd: 'puback', messageId: 7 }],
    [5, { cmd: 'puback', messageId: 7, reasonCode: 16, properties: { reasonString: 'x' } }],
    [4, { cmd: 'subscribe', messageId: 7, subscriptions: [{ topic: 'a/+/#', qos: 1 }] }],
    [
      5,
      {
        cmd: 'subscribe',
        messageId: 7,
        properties: { userProperties: { a: ['b', 'c'] } },
        subscriptions: [{ topic: 'a', qos: 2, nl: true, rap: true, rh: 2 }],
      },
    ],
    [4, { cmd: 'unsubscribe', messageId: 7, unsubscriptions: ['a', '#'] }],
    [5, { cmd: 'unsubscribe', messageId: 7, unsubscriptions: ['a', '#'] }],
    [4, { cmd: 'pingreq' }],
    [5, { cmd: 'disconnect', reasonCode: 4, properties: { sessionExpiryInterval: 9 } }],
  ])('level %i parses a packet of mqtt-packet: %j', (version, written) => {
    const bytes = generate(written, { protocolVersion: version });
    const read = parse(bytes, version);
    expect(read).toMatchObject({ type: written.cmd });
    if ('messageId' in written) expect(read).toMatchObject({ packetId: 7 });
  });
});

describe('invalid packets', () => {
  const SUBSCRIBE_5 = '82 07 0001 00 0001 23';
  test.each([
    [4, '00 00', 0x81, '§2.1.2 packet type 0'],
    [4, 'f0 00', 0x81, '§2.2.1 of 3.1.1: packet type 15'],
    [5, 'f0 00', 0x82, '[MQTT-4.12.0-7] AUTH without a method'],
    [4, '10 00', 0x82, '[MQTT-3.1.0-2] a second CONNECT'],
    [5, '20 00', 0x82, '§2.1.2 CONNACK from a client'],
    [5, '90 03 0001 00', 0x82, '§2.1.2 SUBACK from a client'],
    [5, '50 03 0001 92', 0x82, '[MQTT-3.5.2-1] invalid reason code of PUBREC'],
    [5, '60 02 0001', 0x81, '[MQTT-3.6.1-1] flags of PUBREL'],
    [5, '62 03 0001 80', 0x82, '[MQTT-3.6.2-1] invalid reason code of PUBREL'],
    [4, '70 03 0001 00', 0x81, 'a reason in PUBCOMP of 3.1.1'],
    [5, 'd0 00', 0x82, '§2.1.2 PINGRESP from a client'],
    [5, 'c1 00', 0x81, '[MQTT-2.1.3-1] flags of PINGREQ'],
    [5, 'c0 01 00', 0x81, '§3.12 PINGREQ with a body'],
    [5, '42 02 0001', 0x81, '[MQTT-2.1.3-1] flags of PUBACK'],
    [5, '40 02 0000', 0x82, '[MQTT-2.2.1-3] packet identifier 0'],
    [4, '40 02 0000', 0x82, '[MQTT-2.3.1-1] of 3.1.1: packet identifier 0'],
    [5, '40 01 00', 0x81, 'a truncated packet identifier'],
    [4, '40 03 0001 00', 0x81, 'a reason in PUBACK of 3.1.1'],
    [5, '40 03 0001 01', 0x82, '[MQTT-3.4.2-1] invalid reason code of PUBACK'],
    [5, '40 06 0001 00 02 21 01', 0x81, 'a property of CONNECT in PUBACK'],
    [5, '40 0c 0001 00 08 1f 0001 78 1f 0001 78', 0x82, '§3.4.2.2.2 a reason string twice'],
    [5, '80 07 0001 00 0001 23 01', 0x81, '[MQTT-3.8.1-1] flags of SUBSCRIBE'],
    [4, '82 06 0000 0001 23 01', 0x82, '[MQTT-2.2.1-3] packet identifier 0'],
    [4, '82 02 0001', 0x82, '[MQTT-3.8.3-2] SUBSCRIBE without a filter'],
    [4, '82 05 0001 0001 23', 0x81, 'a filter without options'],
    [4, '82 06 0001 0001 23 03', 0x82, '[MQTT-3.8.3-4] of 3.1.1: QoS 3'],
    [4, '82 06 0001 0001 23 04', 0x81, '[MQTT-3.8.3-4] of 3.1.1: reserved bits'],
    [5, `${SUBSCRIBE_5} 03`, 0x82, '§3.8.3.1 QoS 3'],
    [5, `${SUBSCRIBE_5} 41`, 0x81, '[MQTT-3.8.3-5] reserved bits'],
    [5, `${SUBSCRIBE_5} 31`, 0x82, '§3.8.3.1 retain handling 3'],
    [5, '82 09 0001 02 0b01 0001 23 01', 0xa1, '§3.2.2.3.12 a subscription identifier'],
    [5, '82 09 0001 02 0b00 0001 23 01', 0x82, '§3.8.2.1.2 a subscription identifier of 0'],
    [5, '82 0a 0001 03 210001 0001 23 01', 0x81, 'a property of CONNECT in SUBSCRIBE'],
    [5, '82 07 0001 7f 0001 23 01', 0x81, 'a property length over the end'],
    [4, '82 05 0001 0000 01', 0x81, '[MQTT-4.7.3-1] an empty filter'],
    [4, '82 07 0001 0002 6123 01', 0x81, '[MQTT-4.7.1-1] a#'],
    [4, '82 08 0001 0003 232f61 01', 0x81, '[MQTT-4.7.1-1] #/a'],
    [4, '82 07 0001 0002 2b61 01', 0x81, '[MQTT-4.7.1-2] +a'],
    [4, '82 06 0001 0001 00 01', 0x81, '[MQTT-1.5.4-2] U+0000 in a filter'],
    [4, '82 06 0001 0001 ff 01', 0x81, '[MQTT-1.5.4-1] a filter that is not UTF-8'],
    [5, '82 11 0001 00 000b 2473686172652f672f2323 05', 0x81, '[MQTT-4.7.1-1] a shared g/##'],
    [5, '82 10 0001 00 000a 2473686172652f672f23 05', 0x82, '[MQTT-3.8.3-4] No Local, shared'],
    [4, 'a0 05 0001 0001 23', 0x81, '[MQTT-3.10.1-1] flags of UNSUBSCRIBE'],
    [4, 'a2 02 0001', 0x82, '[MQTT-3.10.3-2] UNSUBSCRIBE without a filter'],
    [4, 'a2 05 0000 0001 23', 0x82, '[MQTT-2.2.1-3] packet identifier 0'],
    [4, 'e1 00', 0x81, '[MQTT-3.14.1-1] flags of DISCONNECT'],
    [4, 'e0 01 00', 0x81, '§3.14 of 3.1.1: DISCONNECT with a body'],
    [5, 'e0 01 8e', 0x82, '[MQTT-3.14.2-1] a reason code of servers only'],
    [5, 'e0 05 00 03 1c 0000', 0x81, '[MQTT-3.14.2-1] a server reference from a client'],
    [5, '36 05 0001 74 0001', 0x81, '[MQTT-3.3.1-4] QoS 3'],
    [5, '38 04 0001 74 00', 0x81, '[MQTT-3.3.1-2] DUP with QoS 0'],
    [5, '32 06 0001 74 0000 00', 0x82, '[MQTT-2.2.1-3] packet identifier 0'],
    [5, '30 07 0001 74 03 230001', 0x94, '[MQTT-3.3.2-9] a topic alias over the maximum of 0'],
    [5, '30 07 0001 74 03 230000', 0x94, '[MQTT-3.3.2-8] a topic alias of 0'],
    [5, '30 05 0001 74 01 0b', 0x81, '[MQTT-3.3.4-6] a subscription identifier from a client'],
    [5, '30 04 0001 23 00', 0x90, '[MQTT-3.3.2-2] a topic with a wildcard'],
    [4, '30 02 0000', 0x82, '[MQTT-4.7.3-1] an empty topic'],
    [4, '30 03 0001 00', 0x81, '[MQTT-1.5.4-2] U+0000 in a topic'],
  ] as const)('level %i: %s is rejected with reason %i', (version, text, reason, _clause) => {
    expect(reasonOf(text, version)).toBe(reason);
  });

  test.each([
    ['34 06 0001 74 0001 00', 2, 0x9b, '[MQTT-3.2.2-11] QoS 2'],
    ['31 04 0001 74 00', 0, 0x9a, '[MQTT-3.2.2-14] RETAIN'],
  ])('%s is a PUBLISH of QoS %i with the fault %i', (text, qos, reason, _clause) => {
    expect(parse(hex(text), 5)).toMatchObject({ type: 'publish', qos, unsupported: { reason } });
  });

  test('parses as many filters as fit, and a deep one', () => {
    const many = packet(0x82, hex('0001'), ...Array.from({ length: 250 }, () => hex('0001 23 01')));
    expect(parse(many, 4)).toMatchObject({ type: 'subscribe' });
    const deep = packet(0x82, hex('0001'), field('/'.repeat(900)), hex('01'));
    expect(parse(deep, 4)).toMatchObject({ type: 'subscribe' });
  });
});

test('never throws on any bytes', () => {
  fc.assert(
    fc.property(
      fc.nat(255),
      fc.uint8Array({ maxLength: 40 }),
      fc.constantFrom<MqttVersion>(4, 5),
      (first, body, version) => {
        parse(packet(first, Buffer.from(body)), version);
      },
    ),
    { numRuns: 20_000 },
  );
});
