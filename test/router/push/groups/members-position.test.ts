import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseToken, START, tokenOf } from '../../../../router/push/groups/members-position.js';

const SHARDS = 64;

test('a position is read from its token', () => {
  const positions = fc.record({
    shard: fc.nat(SHARDS - 1),
    after: fc.string({ unit: 'grapheme' }),
  });
  fc.assert(
    fc.property(positions, (position) => {
      expect(parseToken(tokenOf(position), SHARDS)).toEqual(position);
    }),
  );
  expect(parseToken('', SHARDS)).toEqual(START);
});

test.each(['x', '!', `${SHARDS}:`, '7', '-1:a', '1:\ufffd'].map((text) => [text]))(
  'the token of %j is rejected',
  (text) => {
    const invalid = text === '1:\ufffd' ? Buffer.from([0x31, 0x3a, 0xff]) : Buffer.from(text);
    const token = invalid.toString('base64url');
    expect(parseToken(token, SHARDS)).toMatchObject({ code: 'REQUEST_MALFORMED' });
  },
);

test.each(['MDo=', ' MDo', 'MDo*'])('the text %j, which is no token, is rejected', (token) => {
  expect(parseToken(token, SHARDS)).toMatchObject({ code: 'REQUEST_MALFORMED' });
});
