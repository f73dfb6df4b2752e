/** The first request of a connection decides who has it. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { encodeFields } from '../../../../common/process/http2/hpack-encoder.js';
import { readOpening } from '../../../../common/process/http2/opening.js';
import {
  FLAG,
  FRAME,
  frameOf,
  PREFACE,
  uint32Payload,
} from '../../../../common/process/http2/protocol.js';

const SETTINGS = frameOf(FRAME.settings, 0, 0);
const ACK = frameOf(FRAME.settings, FLAG.ack, 0);
const WINDOW = frameOf(FRAME.windowUpdate, 0, 0, uint32Payload(1_000));
const BLOCK = encodeFields([{ name: ':path', value: '/p' }]);
const headers = (flags: number) => frameOf(FRAME.headers, flags, 1, BLOCK);
const REQUEST = headers(FLAG.endHeaders);

const read = (...frames: Buffer[]) => readOpening(Buffer.concat([PREFACE, ...frames]));

test('the first request is found, with the answer to the settings', () => {
  const ackAt = PREFACE.length + SETTINGS.length + WINDOW.length;
  expect(read(SETTINGS, WINDOW, ACK, WINDOW, REQUEST, REQUEST)).toEqual({
    path: '/p',
    ackAt,
    ackEnd: ackAt + ACK.length,
  });
});

test('every part of it needs more', () => {
  const bytes = Buffer.concat([PREFACE, SETTINGS, WINDOW, ACK, REQUEST]);
  for (let end = 0; end < bytes.length; end++) {
    const hasSettings = end >= PREFACE.length + SETTINGS.length;
    expect(readOpening(bytes.subarray(0, end))).toBe(hasSettings ? 'settings' : 'more');
  }
});

test.each<[string, Buffer[]]>([
  ['a request before the answer to the settings', [SETTINGS, REQUEST]],
  ['two answers', [SETTINGS, ACK, ACK, REQUEST]],
  ['a PING', [SETTINGS, ACK, frameOf(FRAME.ping, 0, 0, Buffer.alloc(8))]],
  ['headers in several frames', [SETTINGS, ACK, headers(0)]],
  ['padded headers', [SETTINGS, ACK, headers(FLAG.endHeaders | FLAG.padded)]],
  ['invalid headers', [SETTINGS, ACK, frameOf(FRAME.headers, FLAG.endHeaders, 1, Buffer.of(0x80))]],
])('%s is something else', (_, frames) => {
  expect(read(...frames)).toBe('other');
});

test('what is no HTTP/2 is something else', () => {
  expect(readOpening(Buffer.from('GET / HTTP/1.1\r\n'))).toBe('other');
});

test('any bytes are read', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 30 }), { maxLength: 5 }), (payloads) => {
      const frames = payloads.map((bytes) =>
        frameOf((bytes[0] ?? 0) % 10, bytes[1] ?? 0, 1, bytes),
      );
      read(...frames);
    }),
  );
});
