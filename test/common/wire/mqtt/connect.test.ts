import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type MqttConnect, parseMqttConnect } from '../../../../common/wire/mqtt/connect.js';
import { connackRejection, type MqttFault } from '../../../../common/wire/mqtt/rejection.js';
import { connect, field, hex, packet } from '../../../support/devices/mqtt-bytes.js';

const BYTES_MAX = 1024;
const parse = (bytes: Buffer) => parseMqttConnect(bytes, BYTES_MAX);

/** Returns the response to a CONNECT in hex; '' if the connection is just closed. */
function responseTo(bytes: Buffer): string {
  const fault = parse(bytes) as MqttFault;
  expect(fault).toMatchObject({ code: expect.any(String) });
  return connackRejection(fault.version, fault).toString('hex');
}

const reasonOf = (bytes: Buffer) => (parse(bytes) as MqttFault).reason;

describe('a valid CONNECT', () => {
  const vectors: [string, string, Partial<MqttConnect>][] = [
    [
      'of 3.1.1',
      '10 0d 0004 4d515454 04 02 003c 0001 61',
      { version: 4, clientId: 'a', isClean: true, keepAliveSeconds: 60, sessionExpirySeconds: 0 },
    ],
    [
      'of 3.1.1 that keeps its session',
      '10 0d 0004 4d515454 04 00 0000 0001 61',
      { isClean: false, sessionExpirySeconds: 0xffffffff, receiveMax: 65535 },
    ],
    [
      'of 3.1.1 with username and password',
      '10 13 0004 4d515454 04 c2 0000 0001 61 0001 75 0001 70',
      { token: 'p' },
    ],
    ['with a username only', '10 10 0004 4d515454 04 82 0000 0001 61 0001 75', { token: 'u' }],
    [
      'of 5',
      '10 0e 0004 4d515454 05 02 000a 00 0001 61',
      { version: 5, keepAliveSeconds: 10, sessionExpirySeconds: 0 },
    ],
    [
      'of 5 with a password only',
      '10 11 0004 4d515454 05 42 0000 00 0001 61 0001 70',
      { token: 'p' },
    ],
    [
      'of 5 with properties',
      '10 25 0004 4d515454 05 00 0000 17 11 00000e10 21 0014 27 00001000 22 000a 26 0001 6b 0001 76 0001 61',
      { isClean: false, sessionExpirySeconds: 3600, receiveMax: 20, packetBytesMax: 4096 },
    ],
    [
      'with a will',
      '10 13 0004 4d515454 04 2e 0000 0001 61 0001 74 0001 6d',
      { will: { qos: 1, isRetained: true } },
    ],
  ];

  test.each(vectors)('%s is parsed', (_name, text, expected) => {
    const bytes = hex(text);
    expect(parse(bytes)).toMatchObject({ type: 'connect', byteLength: bytes.length, ...expected });
  });

  test.each(vectors)('%s is incomplete until its last byte', (_name, text) => {
    const bytes = hex(text);
    for (let cut = 0; cut < bytes.length; cut++) {
      expect(parse(bytes.subarray(0, cut))).toBe('more');
    }
  });

  test('ends at the next packet', () => {
    const bytes = Buffer.concat([connect(), hex('c000')]);
    expect(parse(bytes)).toMatchObject({ byteLength: bytes.length - 2 });
  });

  test('keeps a byte order mark in the clientId [MQTT-1.5.4-3]', () => {
    expect(parse(connect({ clientId: '\ufeffa' }))).toMatchObject({ clientId: '\ufeffa' });
  });

  test('may have a clientId with braces, colons, slashes and stars', () => {
    expect(parse(connect({ clientId: '{a}/b:c*' }))).toMatchObject({ clientId: '{a}/b:c*' });
  });
});

describe('a rejected CONNECT', () => {
  test.each([
    ['[MQTT-3.1.0-1] another packet first', 'c0 00'],
    ['[MQTT-2.1.3-1] flags in the fixed header', '11 0d 0004 4d515454 04 02 003c 0001 61'],
    ['§1.5.5 a remaining length of five bytes', '10 ff ff ff ff 7f'],
    ['[MQTT-1.5.5-1] a padded remaining length', '10 8d 00 0004 4d515454 04 02 003c 0001 61'],
    ['§3.1.2.11.4 a length of 256 MB before the version is known', '10 ff ff ff 7f'],
    ['[MQTT-3.1.2-1] another protocol name', '10 0d 0004 4d515455 04 02 003c 0001 61'],
    ['an empty packet', '10 00'],
    ['a packet that ends after the protocol name', '10 06 0004 4d515454'],
  ])('%s closes without a CONNACK', (_name, text) => {
    expect(responseTo(hex(text))).toBe('');
  });

  test.each(['03', '04', '83'])(
    'of MQTT 3.1, level 0x%s, receives return code 0x01 [MQTT-3.1.2-2] of 3.1.1',
    (level) => {
      const bytes = hex(`10 0f 0006 4d5149736470 ${level} 02 003c 0001 61`);
      expect(responseTo(bytes)).toBe('20020001');
    },
  );

  // 0x83 and 0x84 are from the bridges of some brokers.
  test.each([3, 6, 0x83, 0x84, 0x85])(
    'of level %i receives an unsupported version [MQTT-3.1.2-2]',
    (level) => {
      const bytes = connect();
      bytes[8] = level;
      const response = responseTo(bytes);
      if ((level & 0x7f) <= 4) expect(response).toBe('20020001');
      else expect(response.slice(4, 8)).toBe('0084');
    },
  );

  test('of 256 MB is rejected by its header, if its version was received [MQTT-3.2.2-15]', () => {
    const bytes = hex('10 ff ff ff 7f 0004 4d515454 05');
    expect(responseTo(bytes).slice(4, 8)).toBe('0095');
  });

  test('may have the maximum size, but not one byte more', () => {
    const room = BYTES_MAX - connect({ flags: 0x82, rest: field('') }).length - 1;
    const of = (length: number) => connect({ flags: 0x82, rest: field('x'.repeat(length)) });
    expect(of(room)).toHaveLength(BYTES_MAX);
    expect(parse(of(room))).toMatchObject({ type: 'connect' });
    expect(parse(of(room + 1))).toMatchObject({ code: 'HEAD_TOO_LARGE', reason: 0x95 });
  });

  const faults: [string, Buffer][] = [
    ['[MQTT-3.1.2-3] the reserved connect flag', connect({ flags: 0x03 })],
    ['[MQTT-3.1.2-11] a QoS without a will', connect({ flags: 0x0a })],
    ['[MQTT-3.1.2-13] a retained will without a will', connect({ flags: 0x22 })],
    [
      '[MQTT-3.1.2-12] a will of QoS 3',
      connect({ flags: 0x1e, rest: Buffer.concat([field('t'), field('m')]) }),
    ],
    [
      '[MQTT-3.3.2-2] a will with a wildcard topic',
      connect({ flags: 0x06, rest: Buffer.concat([field('t/#'), field('m')]) }),
    ],
    [
      '[MQTT-4.7.3-1] a will without a topic',
      connect({ flags: 0x06, rest: Buffer.concat([field(''), field('m')]) }),
    ],
    ['[MQTT-1.5.4-1] a clientId that is not UTF-8', connect({ clientId: hex('c328') })],
    ['[MQTT-1.5.4-1] a clientId with a surrogate', connect({ clientId: hex('eda080') })],
    ['[MQTT-1.5.4-1] an overlong encoding', connect({ clientId: hex('c0af') })],
    ['[MQTT-1.5.4-2] a clientId with U+0000', connect({ clientId: 'a\0b' })],
    ['§3.1.3 bytes after the last field', connect({ rest: hex('00') })],
    ['§3.1.3 a field beyond the packet', connect({ flags: 0x82, rest: hex('0005 61') })],
    ['§3.1.3.5 a missing username despite its flag', connect({ flags: 0x82 })],
  ];

  test.each(faults)('%s: 3.1.1 closes without a CONNACK [MQTT-3.1.4-1]', (_name, bytes) => {
    expect(responseTo(bytes)).toBe('');
  });

  test.each(faults)('%s: 5 responds with 0x81 [MQTT-3.1.4-1]', (_name, four) => {
    // The same packet with the level of 5, and with no properties.
    const body = four.subarray(2);
    const isWill = (body[7]! & 0x04) !== 0;
    const five = Buffer.concat([body.subarray(0, 10), hex('00'), body.subarray(10)]);
    five[6] = 5;
    const withWill = isWill
      ? Buffer.concat([five.subarray(0, 14), hex('00'), five.subarray(14)])
      : five;
    const response = responseTo(packet(0x10, withWill));
    expect(response.slice(0, 2) + response.slice(4, 8)).toBe('200081');
  });

  test('[MQTT-3.1.2-22] of 3.1.1: a password without a username closes', () => {
    expect(responseTo(connect({ flags: 0x42, rest: field('p') }))).toBe('');
  });

  test.each([
    ['empty, with clean start', '', 0x02],
    ['empty, without clean start [MQTT-3.1.3-8] of 3.1.1', '', 0x00],
    ['over 256 bytes', 'x'.repeat(257), 0x02],
    ['with a line end', 'a\nb', 0x02],
    ['with #', 'a#', 0x02],
    ['with +', '+', 0x02],
  ])('a clientId %s receives 0x02 or 0x85', (_name, clientId, flags) => {
    expect(responseTo(connect({ clientId, flags }))).toBe('20020002');
    expect(responseTo(connect({ clientId, flags, version: 5 })).slice(4, 8)).toBe('0085');
  });

  test.each([
    ['an unknown identifier', '7f 00', 0x81],
    ['a property of another packet', '23 0001', 0x81],
    ['a property of the will', '18 00000001', 0x81],
    ['a repeated property', '21 0001 21 0001', 0x82],
    ['§3.1.2.11.3 a receive maximum of 0', '21 0000', 0x82],
    ['§3.1.2.11.4 a maximum packet size of 0', '27 00000000', 0x82],
    ['§3.1.2.11.7 a flag that is 2', '17 02', 0x82],
    ['§3.1.2.11.10 authentication data without a method', '16 0001 61', 0x82],
    ['[MQTT-4.12.0-1] an authentication method', '15 0001 61', 0x8c],
    ['a value beyond the property length', '11 0000', 0x81],
    ['[MQTT-1.5.4-2] a user property with U+0000', '26 0001 00 0001 61', 0x81],
    ['[MQTT-1.5.5-1] a padded identifier', '91 00 00000001', 0x81],
  ])('properties: %s is rejected', (_name, properties, reason) => {
    expect(reasonOf(connect({ version: 5, properties }))).toBe(reason);
  });

  test('properties: a length beyond the packet is rejected', () => {
    expect(reasonOf(hex('10 0e 0004 4d515454 05 02 000a 7f 0001 61'))).toBe(0x81);
  });

  test('will properties: a property of CONNECT is rejected', () => {
    const rest = Buffer.concat([hex('03 21 0001'), field('t'), field('m')]);
    expect(reasonOf(connect({ version: 5, flags: 0x06, rest }))).toBe(0x81);
  });

  test('properties: a user property may be repeated', () => {
    const properties = '26 0001 6b 0001 76'.repeat(3);
    expect(parse(connect({ version: 5, properties }))).toMatchObject({ type: 'connect' });
  });
});

test('arbitrary bytes are parsed, rejected or incomplete, and never throw', () => {
  const start = connect({ version: 5, flags: 0xce, properties: '21 0001', rest: field('t') });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(start.length - 1), fc.nat(255)), { maxLength: 6 }),
      fc.uint8Array({ maxLength: 20 }),
      (changes, more) => {
        const bytes = Buffer.concat([start, more]);
        for (const [at, byte] of changes) bytes[at] = byte;
        const result = parse(bytes);
        if (result !== 'more' && 'code' in result) connackRejection(result.version, result);
      },
    ),
    { numRuns: 5_000 },
  );
});
