import { describe, expect, test } from '@jest/globals';
import { parseEncodedClientId, rejectClientId } from '../../../common/wire/client-id.js';

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
  ])('rejects a clientId: %s', (_name, clientId) => {
    expect(rejectClientId(clientId)?.code).toBe('CLIENT_ID_INVALID');
  });
});

describe('parseEncodedClientId', () => {
  test.each([
    ['alice', 'alice'],
    ['%C3%A9', 'é'],
    ['a+b', 'a+b'],
    ['a%20b', 'a b'],
    ['%7Ba%7D%2F', '{a}/'],
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
