import { describe, expect, test } from '@jest/globals';
import {
  clientIdOf,
  deviceOf,
  parseEncodedClientId,
  rejectClientId,
  rejectUser,
  userOf,
} from '../../../common/wire/client-id.js';

describe('rejectClientId', () => {
  test.each([
    'a',
    'x'.repeat(256),
    'é'.repeat(128),
    '{a}:b/c*',
    'with space',
    '👩‍👩‍👧',
    '__proto__',
  ])('accepts %j', (clientId) => {
    expect(rejectClientId(clientId)).toBeUndefined();
  });

  test.each([
    ['empty', ''],
    ['257 bytes', 'x'.repeat(257)],
    ['257 bytes in fewer characters', `${'é'.repeat(128)}x`],
    ['a megabyte', 'x'.repeat(1 << 20)],
    ['NUL', 'a\0b'],
    ['a line end', 'a\nb'],
    ['DEL', 'a\x7f'],
    ['a C1 control', 'a\u0085'],
    ['a lone surrogate', 'a\ud800'],
    ['no user', '/phone'],
    ['no device', 'alice/'],
    ['only a slash', '/'],
  ])('rejects a clientId: %s', (_name, clientId) => {
    expect(rejectClientId(clientId)?.code).toBe('CLIENT_ID_INVALID');
  });
});

describe('a user', () => {
  test.each([
    ['alice', 'alice', undefined],
    ['alice/phone', 'alice', 'phone'],
    ['alice/tab/7', 'alice', 'tab/7'],
    ['é/€', 'é', '€'],
  ])('of %j is %j, its device %j', (clientId, user, device) => {
    expect(rejectClientId(clientId)).toBeUndefined();
    expect(userOf(clientId)).toBe(user);
    expect(deviceOf(clientId)).toBe(device);
    if (device !== undefined) expect(clientIdOf(user, device)).toBe(clientId);
  });

  test('is a clientId without a slash', () => {
    expect(rejectUser('alice')).toBeUndefined();
    for (const user of ['', 'alice/', 'alice/phone', '/', 'a\nb', 'x'.repeat(257)]) {
      expect(rejectUser(user)?.code).toBe('CLIENT_ID_INVALID');
    }
  });
});

describe('parseEncodedClientId', () => {
  test.each([
    ['alice', 'alice'],
    ['%C3%A9', 'é'],
    ['a+b', 'a+b'],
    ['a%20b', 'a b'],
    ['%7Ba%7D%2Fb', '{a}/b'],
  ])('parses %s', (encoded, clientId) => {
    expect(parseEncodedClientId(encoded)).toBe(clientId);
  });

  test.each(['%ff', '%C3', '%', '%zz', '%00', '%0D%0A', '', '%ED%A0%80'])(
    'rejects %j',
    (encoded) => {
      expect(parseEncodedClientId(encoded)).toMatchObject({ code: 'CLIENT_ID_INVALID' });
    },
  );
});
