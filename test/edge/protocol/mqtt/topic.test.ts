import { describe, expect, test } from '@jest/globals';
import { covers, isTopicFilter } from '../../../../edge/protocol/mqtt/topic.js';

describe('isTopicFilter', () => {
  test.each(['#', '+', 'a', '/', 'a/#', '+/+', '/#', 'a//b', '$share/g/a'])(
    'accepts %s',
    (filter) => {
      expect(isTopicFilter(filter)).toBe(true);
    },
  );

  test.each([
    ['', '[MQTT-4.7.3-1]'],
    ['a#', '[MQTT-4.7.1-1]'],
    ['#/a', '[MQTT-4.7.1-1]'],
    ['a/#/b', '[MQTT-4.7.1-1]'],
    ['##', '[MQTT-4.7.1-1]'],
    ['a+', '[MQTT-4.7.1-2]'],
    ['+a/b', '[MQTT-4.7.1-2]'],
    ['+#', '[MQTT-4.7.1-2]'],
  ])('rejects %j %s', (filter) => {
    expect(isTopicFilter(filter)).toBe(false);
  });
});

describe('covers (§4.7.1)', () => {
  test.each(['#', 'push/#', 'push/me/#', 'push/me', 'push/+', '+/me', '+/+', '+/#', '+/+/#'])(
    '%s covers push/me',
    (filter) => {
      expect(covers(filter, 'push/me')).toBe(true);
    },
  );

  test.each([
    'push',
    '+',
    'push/you',
    'push/me/+',
    'push/me/',
    '/push/me',
    'push/+/+',
    'PUSH/me',
    'other/#',
  ])('%s does not cover push/me', (filter) => {
    expect(covers(filter, 'push/me')).toBe(false);
  });

  test('treats slashes in a clientId as level separators', () => {
    expect(covers('push/+', 'push/a/b')).toBe(false);
    expect(covers('push/+/b', 'push/a/b')).toBe(true);
    expect(covers('push/#', 'push/a/b')).toBe(true);
  });
});
