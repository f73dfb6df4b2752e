/** What every device is asked for, in any cut; rejections of real connections are in test/cluster. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { rejection } from '../../../common/process/errors.js';
import { readIntroduction } from '../../../router/front/handshake.js';
import { connect as mqttConnect } from '../../support/devices/mqtt-bytes.js';

const HEAD_BYTES_MAX = 512;

function read(bytes: Buffer, searched = 0) {
  return readIntroduction(bytes, searched, HEAD_BYTES_MAX, ['https://page.example']);
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
  test('says its clientId when it is whole and not before, whatever follows', () => {
    for (let length = 1; length < bytes.length; length++) {
      expect(read(bytes.subarray(0, length), length - 1)).toBe('more');
    }
    const followed = Buffer.concat([bytes, Buffer.from([0x82, 0x80, 0, 0, 0, 0])]);
    for (const whole of [bytes, followed]) {
      expect(read(whole)).toMatchObject({ type: 'introduced', clientId: 'a/b' });
    }
  });
});

test('nothing is kept beyond the bound, in either protocol', () => {
  const head = Buffer.from(`GET /connect?clientId=a HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(600)}`);
  expect(read(head.subarray(0, HEAD_BYTES_MAX))).toBe('more');
  expect(read(head.subarray(0, HEAD_BYTES_MAX + 1))).toMatchObject({
    rejected: { code: 'HEAD_TOO_LARGE' },
  });
  // The length of an MQTT packet says at once that it is too large.
  expect(read(Buffer.from('10ff7f', 'hex'))).toMatchObject({
    rejected: { code: 'HEAD_TOO_LARGE' },
  });
});

test('a rejection is for the page that asked, and an EventSource is told when to come again', () => {
  const from = (headers: string) =>
    Buffer.from(`GET /connect?clientId=a HTTP/1.1\r\nHost: x\r\n${headers}\r\n`);
  const answer = (bytes: Buffer, code: 'NO_EDGE' | 'NOT_FOUND') => {
    const introduced = read(bytes);
    if (introduced === 'more' || introduced.type !== 'introduced') throw new Error('no clientId');
    return introduced.reject(rejection(code, 'no')).toString();
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

test('any bytes in any cut are answered, wait for more, or are understood', () => {
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
