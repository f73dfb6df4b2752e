import { describe, expect, test } from '@jest/globals';
import { AllowedOrigins } from '../../../common/net/origin.js';
import { corsHeaders, originIn, preflightHeaders } from '../../../common/wire/cors.js';

const PAGE = 'https://page.example';
const listed = new AllowedOrigins([PAGE], false);
const headersOf = (allowed: AllowedOrigins, origin?: string) =>
  Object.fromEntries(corsHeaders(allowed, origin));

describe('corsHeaders', () => {
  test('exposes what a page needs to retry, to allowed pages', () => {
    expect(headersOf(new AllowedOrigins(['*'], false), PAGE)).toEqual({
      'Access-Control-Allow-Origin': '*',
      'Access-Control-Expose-Headers': 'Retry-After, WWW-Authenticate',
    });
    expect(headersOf(listed, PAGE)).toEqual({
      'Access-Control-Allow-Origin': PAGE,
      'Access-Control-Expose-Headers': 'Retry-After, WWW-Authenticate',
      Vary: 'Origin',
    });
  });

  test('never allows credentials, and nothing to other pages', () => {
    expect(headersOf(new AllowedOrigins([], false), PAGE)).toEqual({});
    for (const other of [undefined, 'https://other.example', 'https://page.example\xe9']) {
      expect(headersOf(listed, other)).toEqual({ Vary: 'Origin' });
    }
  });

  test('echoes the origin as the browser compares it: as it was sent', () => {
    expect(headersOf(listed, `${PAGE}:443`)['Access-Control-Allow-Origin']).toBe(`${PAGE}:443`);
  });
});

describe('preflightHeaders', () => {
  const allowedFor = (asked?: string) =>
    Object.fromEntries(preflightHeaders(asked))['Access-Control-Allow-Headers'];

  test('echoes the names that are asked for', () => {
    expect(allowedFor('traceparent,tracestate, baggage')).toBe('traceparent, tracestate, baggage');
    expect(allowedFor('x-datadog-trace-id')).toBe('x-datadog-trace-id');
  });

  test.each([undefined, '', ' , ', 'a b', 'a\xe9', 'a;b', 'a'.repeat(1_025)])(
    'lists common names for %j',
    (asked) => {
      const names = allowedFor(asked)!.toLowerCase().split(', ');
      expect(names).toEqual(
        expect.arrayContaining([
          'authorization',
          'baggage',
          'content-type',
          'last-event-id',
          'sentry-trace',
          'traceparent',
          'tracestate',
          'x-requested-with',
        ]),
      );
    },
  );
});

test('originIn finds the origin of a request that cannot be parsed', () => {
  const find = (text: string) => originIn(Buffer.from(text, 'latin1'));
  expect(find(`GET / HTTP/1.1\r\noRIGIN: \t${PAGE} \r\nX: \v\r\n\r\n`)).toBe(PAGE);
  expect(find(`GET / HTTP/1.1\nOrigin:${PAGE}\n\n`)).toBe(PAGE);
  expect(find(`GET / HTTP/1.1\r\nX-Origin: ${PAGE}\r\n\r\n`)).toBeUndefined();
  expect(find(`GET / HTTP/1.1\r\nOrigin: ${PAGE}\xe9\r\n\r\n`)).toBeUndefined();
  expect(find('')).toBeUndefined();
});
