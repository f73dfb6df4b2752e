import { createHmac } from 'node:crypto';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { HmacSha256 } from '../../../common/auth/hmac-sha256.js';

test('the second and sixth examples of RFC 4231', () => {
  expect(hexOf('Jefe', 'what do ya want for nothing?')).toBe(
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
  );
  const longKey = Buffer.alloc(131, 0xaa);
  expect(hexOf(longKey, 'Test Using Larger Than Block-Size Key - Hash Key First')).toBe(
    '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
  );
});

test('any key and text have the digest of createHmac', () => {
  const bytes = fc.uint8Array({ maxLength: 200 });
  const part = fc.oneof(bytes, fc.string({ unit: 'binary' }), fc.string({ minLength: 2_000 }));
  const texts = fc.array(fc.array(part, { maxLength: 4 }), { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(bytes, texts, (secret, all) => {
      const hmac = new HmacSha256(Buffer.from(secret));
      for (const parts of all) {
        const expected = createHmac('sha256', secret);
        for (const each of parts) expected.update(each);
        expect(hmac.digest('base64url', ...parts)).toBe(expected.digest('base64url'));
      }
    }),
  );
});

function hexOf(secret: string | Buffer, text: string): string {
  const digest = new HmacSha256(Buffer.from(secret)).digest('binary', text);
  return Buffer.from(digest, 'binary').toString('hex');
}
