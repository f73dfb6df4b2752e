/**
 * Connect requests in any fragmentation; rejections of real connections are tested in test/cluster.
 */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { AllowedOrigins } from '../../../common/net/origin.js';
import { rejection } from '../../../common/process/errors.js';
import { readConnectRequest, readMqttFrames } from '../../../router/front/handshake.js';
import { maskedFrame } from '../../support/devices/masked-frame.js';
import { connect as mqttConnect } from '../../support/devices/mqtt-bytes.js';

const HEAD_BYTES_MAX = 512;
const CONFIG = {
  headBytesMax: HEAD_BYTES_MAX,
  corsOrigins: new AllowedOrigins(['https://page.example'], false),
  mqttPaths: ['/mqtt'],
};

function read(bytes: Buffer, searched = 0) {
  return readConnectRequest(bytes, searched, CONFIG);
}

const webSocket = Buffer.from(
  'GET /connect?clientId=a%2Fb HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
);

describe.each([
  ['SSE', Buffer.from('GET /connect?clientId=a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n')],
  [
    'an empty line first (RFC 9112 §2.2)',
    Buffer.from('\r\nGET /connect?clientId=a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n'),
  ],
  ['WebSocket', webSocket],
  ['a preflight', Buffer.from('OPTIONS /connect?clientId=a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n')],
  ['MQTT 3.1.1', mqttConnect({ version: 4, clientId: 'a/b' })],
  ['MQTT 5', mqttConnect({ version: 5, clientId: 'a/b', properties: '210014' })],
])('%s', (_, bytes) => {
  test('is accepted when it is complete and not before, with or without further bytes', () => {
    for (let length = 1; length < bytes.length; length++) {
      expect(read(bytes.subarray(0, length), length - 1)).toBe('more');
    }
    const followed = Buffer.concat([bytes, Buffer.from([0x82, 0x80, 0, 0, 0, 0])]);
    for (const whole of [bytes, followed]) {
      expect(read(whole)).toMatchObject({ type: 'accepted', clientId: 'a/b' });
    }
  });
});

const mqttUpgrade = (target: string, offered = 'mqtt') =>
  Buffer.from(
    `GET ${target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' +
      `Sec-WebSocket-Protocol: ${offered}\r\n\r\n`,
  );

describe('MQTT over a WebSocket', () => {
  test.each([
    ['/mqtt', 'mqtt'],
    ['/mqtt?token=x', 'other, mqtt'],
    ['/connect', 'mqtt'],
    ['/connect?clientId=ignored', 'mqtt, longline.json'],
  ])('%s is answered, and CONNECT has the clientId', (target, offered) => {
    const head = mqttUpgrade(target, offered);
    const frame = maskedFrame({ opcode: 2, payload: mqttConnect({ clientId: 'a/b' }) });
    const upgraded = read(Buffer.concat([head, frame]));
    if (upgraded === 'more' || upgraded.type !== 'upgraded') throw new Error('not upgraded');
    const response = upgraded.response.toString();
    expect(response).toContain('HTTP/1.1 101');
    expect(response).toContain('Sec-WebSocket-Protocol: mqtt\r\n');
    const { opening, rest } = upgraded;
    expect(readMqttFrames(opening, rest.subarray(0, 9))).toBe('more');
    expect(readMqttFrames(opening, rest.subarray(9))).toMatchObject({
      type: 'accepted',
      clientId: 'a/b',
      isUpgraded: true,
    });
  });

  test.each([
    ['/mqtt', 'mqttv3.1', 'MQTT_VERSION_UNSUPPORTED'],
    ['/connect?clientId=a', 'mqttv3.1', 'MQTT_VERSION_UNSUPPORTED'],
    ['/mqtt', 'longline.json', 'REQUEST_MALFORMED'],
    ['/mqtt/x', 'mqtt', 'NOT_FOUND'],
  ])('%s with the subprotocol %s is rejected', (target, offered, code) => {
    expect(read(mqttUpgrade(target, offered))).toMatchObject({ rejected: { code } });
  });

  test('a path for it rejects other requests, and foreign pages', () => {
    const plain = Buffer.from('GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(read(plain)).toMatchObject({ rejected: { code: 'REQUEST_MALFORMED' } });
    const foreign = `${mqttUpgrade('/mqtt')}`.replace(
      'Host:',
      'Origin: https://evil.example\r\nHost:',
    );
    expect(read(Buffer.from(foreign))).toMatchObject({ rejected: { code: 'ORIGIN_NOT_ALLOWED' } });
  });

  test('a rejected CONNECT is answered in frames', () => {
    const upgraded = read(mqttUpgrade('/mqtt'));
    if (upgraded === 'more' || upgraded.type !== 'upgraded') throw new Error('not upgraded');
    const payload = mqttConnect({ clientId: '' });
    const rejected = readMqttFrames(upgraded.opening, maskedFrame({ opcode: 2, payload }));
    if (rejected === 'more' || rejected.type !== 'rejected') throw new Error('not rejected');
    expect(rejected.bytes.subarray(0, 6).toString('hex')).toBe('820420020002');
    expect(rejected.bytes[6]).toBe(0x88);
  });
});

test('a head over the bound is rejected, in either protocol', () => {
  const head = Buffer.from(`GET /connect?clientId=a HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(600)}`);
  expect(read(head.subarray(0, HEAD_BYTES_MAX))).toBe('more');
  expect(read(head.subarray(0, HEAD_BYTES_MAX + 1))).toMatchObject({
    rejected: { code: 'HEAD_TOO_LARGE' },
  });
  // The length in the fixed header of an MQTT packet is enough to reject it.
  expect(read(Buffer.from('10ff7f', 'hex'))).toMatchObject({
    rejected: { code: 'HEAD_TOO_LARGE' },
  });
});

test('a rejection has CORS headers, and for an EventSource a retry delay', () => {
  const from = (headers: string) =>
    Buffer.from(`GET /connect?clientId=a HTTP/1.1\r\nHost: x\r\n${headers}\r\n`);
  const answer = (bytes: Buffer, code: 'NO_EDGE' | 'NOT_FOUND') => {
    const request = read(bytes);
    if (request === 'more' || request.type !== 'accepted') throw new Error('no clientId');
    return request.reject(rejection(code, 'no')).toString();
  };
  const page = 'Origin: https://page.example\r\n';
  const events = 'Accept: text/event-stream\r\n';
  expect(answer(from(page), 'NO_EDGE')).toMatch(
    /^HTTP\/1.1 503 .*Access-Control-Allow-Origin: https:\/\/page.example\r\n/s,
  );
  expect(answer(from('Origin: https://other.example\r\n'), 'NO_EDGE')).not.toContain(
    'Allow-Origin',
  );
  expect(answer(from(events + page), 'NO_EDGE')).toMatch(
    /^HTTP\/1.1 200 .*Allow-Origin: https.*\r\n\r\nretry: 2000\nevent: goaway\ndata: {}\n\n$/s,
  );
  expect(answer(from(events), 'NOT_FOUND')).toMatch(/^HTTP\/1.1 404 /);
  const unreadable = read(from(`${page}Content-Length: \x0b0\r\n`));
  expect(unreadable).toMatchObject({ rejected: { code: 'REQUEST_MALFORMED' } });
  expect((unreadable as { bytes: Buffer }).bytes.toString()).toContain(
    'Access-Control-Allow-Origin: https://page.example\r\n',
  );
});

test('any bytes in any fragmentation are accepted, rejected or incomplete', () => {
  const begins = fc.constantFrom(
    Buffer.from('GET /connect?clientId='),
    Buffer.from([0x10]),
    webSocket,
  );
  fc.assert(
    fc.property(begins, fc.uint8Array({ maxLength: 700 }), (begin, rest) => {
      const bytes = Buffer.concat([begin, rest]);
      let searched = 0;
      for (const length of [1, begin.length, bytes.length]) {
        const result = read(bytes.subarray(0, length), searched);
        searched = length;
        if (result !== 'more') break;
        expect(length).toBeLessThanOrEqual(HEAD_BYTES_MAX);
      }
    }),
  );
});
