import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { NdjsonProtocol, ndjsonOpening } from '../../../../edge/protocol/http/ndjson.js';

const ndjson = new NdjsonProtocol();
const CONNECTION = 1;

function lineOf(payload: Buffer, id = '5-0', contentType = '') {
  const bytes = ndjson.encodePush(CONNECTION, { id, payload, contentType, ttlMs: 1 });
  const text = bytes.toString();
  expect(text.indexOf('\n')).toBe(text.length - 1);
  return JSON.parse(text);
}

test('encodes every payload exactly, on one line', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
      const { data, base64 } = lineOf(Buffer.from(bytes));
      const arrived = base64 === undefined ? Buffer.from(data) : Buffer.from(base64, 'base64');
      expect(arrived).toEqual(Buffer.from(bytes));
    }),
  );
  expect(lineOf(Buffer.from('a\r\nb\0c\u2028'))).toMatchObject({ data: 'a\r\nb\0c\u2028' });
});

test('omits the id of a live-only push and an empty content type', () => {
  expect(lineOf(Buffer.from('x'), '')).toEqual({ type: 'push', data: 'x' });
  expect(lineOf(Buffer.from('x'), '5-0', 'text/plain')).toEqual({
    type: 'push',
    id: '5-0',
    contentType: 'text/plain',
    data: 'x',
  });
});

test('opens with a welcome', () => {
  const welcome = { clientId: 'alice', heartbeatMs: 15_000, ticket: undefined };
  const [head, body] = ndjsonOpening([], welcome).toString().split('\r\n\r\n');
  expect(head).toContain('Content-Type: application/x-ndjson');
  expect(JSON.parse(body!)).toEqual({ type: 'welcome', clientId: 'alice', heartbeatMs: 15_000 });
  const ticket = 'A'.repeat(32);
  const withTicket = ndjsonOpening([], { ...welcome, ticket })
    .toString()
    .split('\r\n\r\n');
  expect(JSON.parse(withTicket[1]!)).toMatchObject({ type: 'welcome', ticket });
});

test('omits the url of a goaway without one', () => {
  expect(JSON.parse(ndjson.encodeGoaway(CONNECTION, 420, undefined).toString())).toEqual({
    type: 'goaway',
    retryMs: 420,
  });
});
