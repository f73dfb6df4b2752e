import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseStrictJson, type StrictJson } from '../../../common/wire/strict-json.js';

const parse = (text: string, keep?: string) => parseStrictJson(Buffer.from(text), keep);
const accepted = (text: string, keep?: string): StrictJson => {
  const json = parse(text, keep);
  if ('code' in json) throw new Error(json.message);
  return json;
};

test('every object that JSON.stringify writes is accepted, with its value', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.nat(3), (object, indent) => {
      const text = JSON.stringify(object, undefined, indent);
      expect(accepted(text).value).toEqual(JSON.parse(text));
    }),
  );
});

test('the text of a member is kept as it was received, in any surroundings', () => {
  const members = fc.dictionary(
    fc.string().filter((name) => name !== 'payload'),
    fc.jsonValue(),
  );
  fc.assert(
    fc.property(members, fc.jsonValue(), members, fc.nat(3), (before, payload, after, indent) => {
      const object = { ...before, payload, ...after };
      const { value, kept } = accepted(JSON.stringify(object, undefined, indent), 'payload');
      expect(JSON.parse(kept!)).toEqual(value.payload);
    }),
  );
});

test.each([
  ['{"payload": 1.0 }', '1.0'],
  ['{"payload":12345678901234567890,"a":1}', '12345678901234567890'],
  ['{"a":{"payload":1},"payload":\n[1,\n2] \n}', '[1,\n2]'],
  ['{"payload":"a,}\\"]\\\\","b":[]}', '"a,}\\"]\\\\"'],
  ['{"p\\u0061yload":null}', 'null'],
  ['{"a":{"payload":1}}', undefined],
])('%j keeps %j', (text, kept) => {
  expect(accepted(text, 'payload').kept).toBe(kept);
});

test.each([
  '{"a":1,"a":1}',
  '{"a":1,"b":2,"\\u0061":3}',
  '{"x":{"a":1,"b":[{"c":1,"c":2}]}}',
  '{"":1,"":2}',
  '{"__proto__":1,"__proto__":2}',
  '{"\\\\":1,"\\\\":2}',
])('%s has a name twice', (text) => {
  expect(parse(text)).toMatchObject({
    code: 'REQUEST_MALFORMED',
    message: expect.stringMatching(/ occurs twice$/),
  });
});

test('the same name in different objects is not twice', () => {
  accepted('{"a":{"a":1},"b":[{"a":1},{"a":2}],"c":"\\"a\\":1,\\"a\\":2"}');
});

test.each([
  ['{"a":1', 'is not JSON'],
  ['', 'is not JSON'],
  ['\ufeff{}', 'is not JSON'],
  ['{"a":1}{}', 'is not JSON'],
  ["{'a':1}", 'is not JSON'],
  ['{"a":NaN}', 'is not JSON'],
  ['[]', 'expected a JSON object'],
  ['null', 'expected a JSON object'],
  ['"a"', 'expected a JSON object'],
  [`{"a":${'['.repeat(100)}${']'.repeat(100)}}`, 'nested more than 100 deep'],
])('%j is rejected: %s', (text, message) => {
  expect(parse(text)).toMatchObject({
    code: 'REQUEST_MALFORMED',
    message: expect.stringContaining(message),
  });
});

test('a hundred levels are accepted', () => {
  accepted(`{"a":${'['.repeat(99)}${']'.repeat(99)}}`);
});

test('bytes that are not UTF-8 are rejected', () => {
  for (const bytes of ['7b2261223a22ff227d', '7b2261223a22eda080227d', '7b2261223a22c080227d']) {
    expect(parseStrictJson(Buffer.from(bytes, 'hex'))).toMatchObject({
      code: 'REQUEST_MALFORMED',
      message: 'the JSON is not UTF-8',
    });
  }
});
