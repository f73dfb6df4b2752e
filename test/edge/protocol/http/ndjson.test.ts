import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CHUNKED, UNTIL_CLOSE } from '../../../../common/wire/body-framing.js';
import { NdjsonProtocol } from '../../../../edge/protocol/http/ndjson.js';

const ndjson = new NdjsonProtocol(UNTIL_CLOSE);
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

test('the size of a message is that of its line, without framing', () => {
  for (const framing of [CHUNKED, UNTIL_CLOSE]) {
    const protocol = new NdjsonProtocol(framing);
    for (const length of [0, 1, 250, 70_000]) {
      const message = { id: '5-0', payload: Buffer.alloc(length, 'x'), contentType: '', ttlMs: 1 };
      const line = `{"type":"push","id":"5-0","data":"${'x'.repeat(length)}"}`;
      const encoded = protocol.encodePush(CONNECTION, message);
      expect(protocol.messageBytes(encoded)).toBe(line.length);
    }
  }
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
  const [head, body] = ndjson.encodeOpening([], welcome).toString().split('\r\n\r\n');
  expect(head).toContain('Content-Type: application/x-ndjson');
  expect(JSON.parse(body!)).toEqual({ type: 'welcome', clientId: 'alice', heartbeatMs: 15_000 });
  const ticket = 'A'.repeat(32);
  const withTicket = ndjson
    .encodeOpening([], { ...welcome, ticket })
    .toString()
    .split('\r\n\r\n');
  expect(JSON.parse(withTicket[1]!)).toMatchObject({ type: 'welcome', ticket });
});

test('omits the url of a goaway without one', () => {
  expect(JSON.parse(ndjson.encodeGoaway(CONNECTION, 420, undefined)!.toString())).toEqual({
    type: 'goaway',
    retryMs: 420,
  });
});

test('a reset names its position, if there is one', () => {
  const [known, unknown] = ['7-1', ''].map((id) => ndjson.encodeReset(CONNECTION, id).toString());
  expect(JSON.parse(known!)).toEqual({ type: 'reset', id: '7-1' });
  expect(JSON.parse(unknown!)).toEqual({ type: 'reset' });
});

test('each line is one chunk over HTTP/1.1, and the last chunk ends the stream', () => {
  const chunked = new NdjsonProtocol(CHUNKED);
  expect(chunked.heartbeat.toString()).toBe('15\r\n{"type":"heartbeat"}\n\r\n');
  const last = chunked.encodeClose(CONNECTION, 'session_replaced')!.toString();
  expect(last).toBe('1c\r\n{"type":"session-replaced"}\n\r\n0\r\n\r\n');
  const [head] = chunked
    .encodeOpening([], { clientId: 'a', heartbeatMs: 1, ticket: undefined })
    .toString()
    .split('\r\n\r\n');
  expect(head).toContain('Transfer-Encoding: chunked');
});
