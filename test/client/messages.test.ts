import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isNewer, parseMessage } from '../../client/messages.js';

describe('parseMessage', () => {
  test.each([
    [
      '{"type":"welcome","clientId":"a","heartbeatMs":15000}',
      { type: 'welcome', heartbeatMs: 15000 },
    ],
    [
      '{"type":"welcome","clientId":"a","heartbeatMs":15000,"ticket":"t"}',
      { type: 'welcome', heartbeatMs: 15000, ticket: 't' },
    ],
    [
      '{"type":"push","id":"1795-0","data":"grüße 🦈"}',
      { type: 'push', push: { id: '1795-0', data: 'grüße 🦈' } },
    ],
    ['{"type":"push","data":""}', { type: 'push', push: { data: '' } }],
    [
      '{"type":"push","id":"1-0","base64":"AP8=","contentType":"image/png"}',
      {
        type: 'push',
        push: { id: '1-0', data: Uint8Array.of(0, 255), contentType: 'image/png' },
      },
    ],
    [
      '{"type":"push","id":"1-0","appendTo":"m","offset":7,"data":"é"}',
      {
        type: 'push',
        push: { id: '1-0', data: 'é', appended: { to: 'm', offset: 7, isEnd: false } },
      },
    ],
    [
      '{"type":"push","id":"1-0","appendTo":"","offset":0,"end":true,"base64":""}',
      {
        type: 'push',
        push: {
          ...{ id: '1-0', data: new Uint8Array(0) },
          appended: { to: '', offset: 0, isEnd: true },
        },
      },
    ],
    ['{"type":"reset"}', { type: 'reset' }],
    [
      '{"type":"goaway","retryMs":420,"url":"http://e/connect?clientId=a"}',
      { type: 'goaway', retryMs: 420, url: 'http://e/connect?clientId=a' },
    ],
    ['{"type":"goaway","retryMs":420}', { type: 'goaway', retryMs: 420 }],
    ['{"type":"session-replaced"}', { type: 'session-replaced' }],
    ['{"type":"ticket","ticket":"t"}', { type: 'ticket', ticket: 't' }],
    ['{"type":"expiring","inMs":60000}', { type: 'expiring' }],
    ['{"type":"pong"}', { type: 'other' }],
    ['{"type":"heartbeat"}', { type: 'other' }],
  ])('parses %s', (text, message) => {
    expect(parseMessage(text)).toEqual(message);
  });

  test.each([
    '',
    'null',
    '17',
    '[]',
    '{',
    '{"type":"from-the-future"}',
    '{"type":"welcome"}',
    '{"type":"welcome","heartbeatMs":"15000"}',
    '{"type":"welcome","heartbeatMs":0}',
    '{"type":"push","id":"1-0"}',
    '{"type":"push","id":"1-0","base64":"*"}',
    '{"type":"ticket"}',
    '{"__proto__":{"type":"reset"}}',
  ])('ignores %s', (text) => {
    expect(parseMessage(text)).toEqual({ type: 'other' });
  });

  test('never throws', () => {
    fc.assert(fc.property(fc.string(), (text) => parseMessage(text).type !== undefined));
    fc.assert(fc.property(fc.json(), (text) => parseMessage(text).type !== undefined));
  });
});

describe('isNewer', () => {
  const part = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

  test('compares times, then numbers', () => {
    fc.assert(
      fc.property(part, part, part, part, (ms, n, thanMs, thanN) => {
        const expected = ms > thanMs || (ms === thanMs && n > thanN);
        expect(isNewer(`${ms}-${n}`, `${thanMs}-${thanN}`)).toBe(expected);
      }),
    );
  });

  test('is false for the same id and true for no id', () => {
    expect(isNewer('1795-0', '1795-0')).toBe(false);
    expect(isNewer('0-1', '')).toBe(true);
  });
});
