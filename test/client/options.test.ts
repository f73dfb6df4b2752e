import { describe, expect, test } from '@jest/globals';
import { connect } from '../../client/connect.js';

const VALID = { router: 'http://localhost:7100', clientId: 'bob', onPush: () => {} };

function messageOf(options: unknown): string {
  try {
    connect(options as never).close();
  } catch (error) {
    expect(error).toBeInstanceOf(TypeError);
    return (error as TypeError).message;
  }
  return '';
}

describe('connect', () => {
  test.each([undefined, null, {}, 'http://localhost'])('says what is missing in %p', (options) => {
    expect(messageOf(options)).toBe(
      'router is missing, expected an http(s) URL; ' +
        'clientId is missing, expected 1 to 256 bytes without control characters; ' +
        'onPush is missing, expected a function',
    );
  });

  test.each([
    ['router', ['localhost:7100', 'push.example.com', '/push', 'ws://a', 'redis://a', '', 7100]],
    ['router', ['http://', 'http://a/?b', 'http://a/#b', 'http://user:pw@a', new URL('http://a')]],
    ['clientId', ['', 'a\nb', '\u0000', '\u007f', '\u0085', '\ud800', 7, {}]],
    ['clientId', ['x'.repeat(257), 'ü'.repeat(129)]],
    ['onPush', ['log', {}, []]],
    ['onGap', ['log']],
    ['onState', [{}]],
    ['onError', [true]],
    ['token', ['eyJ…']],
    ['webSocket', ['ws', {}]],
    ['lastEventId', ['newest', '1', '1-0-0', '1-0&x', 5]],
    ['onReplaced', ['steal', true]],
  ])('rejects an invalid %s', (name, values) => {
    for (const value of values) {
      expect(messageOf({ ...VALID, [name]: value })).toMatch(
        new RegExp(`^${name} is invalid, expected [^;]+$`),
      );
    }
  });

  test.each([
    { router: 'https://push.example.com/base/' },
    { router: 'HTTP://[::1]:7100' },
    { clientId: 'x'.repeat(256) },
    { clientId: 'ü'.repeat(128) },
    { clientId: 'a b/:{}+#🦈' },
    { lastEventId: '' },
    { lastEventId: '1795386373482-0' },
    // A page reads null from an empty storage.
    { lastEventId: null, token: null, onGap: undefined },
    { labels: 'app=web,version=5.2' },
    { onReplaced: 'close' },
    { onReplaced: 'wait' },
  ])('accepts %p', (options) => {
    expect(messageOf({ ...VALID, ...options })).toBe('');
  });
});
