import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseDeviceMessage } from '../../../edge/protocol/device-message.js';

const parse = (text: string) => parseDeviceMessage(Buffer.from(text));

/** Message of `bytes` bytes, padded between `before` and `after`. */
function ofLength(bytes: number, before: string, after: string): string {
  return before + 'x'.repeat(bytes - before.length - after.length) + after;
}

test.each([
  ['{"type":"ack","id":"1795-0"}', { type: 'ack', id: '1795-0' }],
  [' { "id" : "1-2", "type" : "ack" } ', { type: 'ack', id: '1-2' }],
  ['{"type":"ping"}', { type: 'ping' }],
  ['{"type":"hello","maxBytes":32768}', { type: 'hello', maxBytes: 32_768 }],
  ['{"type":"hello","maxBytes":"256"}', { type: 'hello', maxBytes: 256 }],
  ['{"type":"join","group":"room 7"}', { type: 'join', group: 'room 7' }],
  ['{"type":"leave","group":"*"}', { type: 'leave', group: '*' }],
  ['{"type":"token","token":"a.b.c"}', { type: 'token', token: 'a.b.c' }],
])('parses %s', (text, message) => {
  expect(parse(text)).toEqual(message);
});

describe('rejects', () => {
  test.each([
    '',
    'x',
    'null',
    '1',
    '"ping"',
    '[]',
    '[{"type":"ping"}]',
    '{}',
    '{"type":"push"}',
    '{"type":1}',
    '{"type":"ping"',
    '{"type":"ping"}{"type":"ping"}',
    '{"type":"ping","more":"x"}',
    '{"type":"ack"}',
    '{"type":"ack","id":1}',
    '{"type":"ack","id":null}',
    '{"type":"ack","id":""}',
    '{"type":"ack","id":"$"}',
    '{"type":"ack","id":"-"}',
    '{"type":"ack","id":"1-2-3"}',
    '{"type":"ack","id":"9999999999999999-0"}',
    '{"type":"ack","id":["1-0"]}',
    '{"type":"ack","id":"1-0","__proto__":{"id":"2-0"}}',
    '{"__proto__":{"type":"ping"}}',
    '{"constructor":{"prototype":{"type":"ping"}}}',
    '{"type":"ping","toString":"x"}',
    '{"type":"token"}',
    '{"type":"join"}',
    '{"type":"join","group":7}',
    '{"type":"join","group":"a","id":"1-0"}',
    '{"type":"hello"}',
    '{"type":"hello","maxBytes":255}',
    '{"type":"hello","maxBytes":-1}',
    '{"type":"hello","maxBytes":1e300}',
    '{"type":"hello","maxBytes":1000.5}',
    '{"type":"ack","maxBytes":1000}',
    '{"type":"token","token":{"a":"b"}}',
  ])('%s', (text) => {
    expect(parse(text)).toMatchObject({ code: 'REQUEST_MALFORMED' });
  });

  test('the deepest nesting within the limit', () => {
    const depth = 2_000;
    expect(parse('['.repeat(depth) + ']'.repeat(depth))).toMatchObject({
      code: 'REQUEST_MALFORMED',
    });
    expect(parse(`${'{"a":'.repeat(600)}1${'}'.repeat(600)}`)).toMatchObject({
      code: 'REQUEST_MALFORMED',
    });
  });

  test('any input without throwing or changing a prototype', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        parse(text);
        expect(Object.keys(Object.prototype)).toEqual([]);
        expect(({} as { type?: string }).type).toBeUndefined();
      }),
    );
  });
});

test('limits acks to 4 KiB and tokens to 12 KiB', () => {
  const tooLarge = { code: 'PAYLOAD_TOO_LARGE' };
  const ping = (bytes: number) => parse(ofLength(bytes, '{"type":"ping","x":"', '"}'));
  expect(ping(4_096)).toMatchObject({ code: 'REQUEST_MALFORMED' });
  expect(ping(4_097)).toMatchObject(tooLarge);
  const token = (bytes: number) => parse(ofLength(bytes, '{"type":"token","token":"', '"}'));
  expect(token(12_288)).toMatchObject({ type: 'token' });
  expect(token(12_289)).toMatchObject(tooLarge);
});
