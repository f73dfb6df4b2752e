/** Connect requests in any fragmentation; rejections of real connections are tested in test/cluster. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { rejection } from '../../../common/process/errors.js';
import { readConnectRequest } from '../../../router/front/handshake.js';
import { connect as mqttConnect } from '../../support/devices/mqtt-bytes.js';

const HEAD_BYTES_MAX = 512;

function read(bytes: Buffer, searched = 0) {
  return readConnectRequest(bytes, searched, HEAD_BYTES_MAX, ['https://page.example']);
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
