/** HS256, which is verified without jose: by its published example, and as jose would. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { jwtVerify } from 'jose';
import { HmacSha256, isSignedWith } from '../../../common/auth/hmac-sha256.js';
import { JwtVerifier } from '../../../common/auth/jwt.js';
import { KeySet } from '../../../common/auth/key-set.js';
import { ALGORITHMS, readKeys } from '../../../common/auth/keys.js';
import { claimsOf, SECRET, signed, tokenOf } from '../../support/tokens.js';

const SKEW_MS = 1_000;

async function verifier(keys = SECRET) {
  const set = new KeySet(ALGORITHMS);
  set.replace(await readKeys(keys));
  return new JwtVerifier(set, {
    audiences: [],
    issuers: [],
    skewMs: SKEW_MS,
    labelsClaim: 'labels',
    groupsClaim: 'groups',
  });
}

test('the example of RFC 7515 appendix A.1 is signed with its key', () => {
  const key =
    'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow';
  const token =
    'eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9' +
    '.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ' +
    '.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk';
  const secret = new HmacSha256(Buffer.from(key, 'base64url'));
  expect(isSignedWith(secret, token)).toBe(true);
  expect(isSignedWith(secret, token.replace('.dBj', '.eBj'))).toBe(false);
  expect(isSignedWith(new HmacSha256(Buffer.alloc(64)), token)).toBe(false);
});

test('a signature is accepted in one form only', async () => {
  const jwt = await verifier();
  const token = tokenOf('alice');
  expect(jwt.verify(token)).toMatchObject({ clientId: 'alice' });
  // The last character of 32 bytes in base64url has two bits that mean nothing.
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const last = alphabet.indexOf(token.at(-1)!);
  for (const bits of [1, 2, 3])
    expect(jwt.verify(token.slice(0, -1) + alphabet[last + bits])).toBe('signature');
  for (const text of [token.slice(0, -1), `${token}A`, `${token}AA`])
    expect(jwt.verify(text)).toBe('signature');
});

describe('headers that change how a token is verified are left to jose', () => {
  test.each([
    [{ crit: ['exp'] }, 'malformed'],
    [{ crit: [] }, 'malformed'],
    [{ crit: ['b64'], b64: false }, 'malformed'],
    [{ crit: ['http://example.com/UNDEFINED'], 'http://example.com/UNDEFINED': true }, 'malformed'],
  ])('%j is rejected', async (extension, problem) => {
    const token = signed({ alg: 'HS256', ...extension }, claimsOf('alice'), SECRET);
    expect(await (await verifier()).verify(token)).toBe(problem);
  });

  test('an extension that changes nothing is accepted', async () => {
    const token = signed({ alg: 'HS256', crit: ['b64'], b64: true }, claimsOf('alice'), SECRET);
    expect(await (await verifier()).verify(token)).toMatchObject({ clientId: 'alice' });
  });
});

test('the second of two secrets without a kid is tried too', async () => {
  const other = Buffer.from('another secret that is long enough');
  const jwk = (secret: string | Buffer) => ({
    kty: 'oct',
    k: Buffer.from(secret).toString('base64url'),
  });
  const jwt = await verifier(JSON.stringify({ keys: [jwk(other), jwk(SECRET)] }));
  expect(jwt.verify(tokenOf('alice'))).toMatchObject({ clientId: 'alice' });
});

test('every token has the verdict that jose gives', async () => {
  const verifiedBy = await verifier();
  const key = (await readKeys(SECRET))[0]!.key;
  const nowS = Math.floor(Date.now() / 1_000);
  const time = fc.oneof(
    fc.integer({ min: -100, max: 100 }).map((offset) => nowS + offset * 60),
    fc.constantFrom('9999999999', null, -1, 1e300, [nowS + 60]),
  );
  const claims = fc.record(
    {
      sub: fc.oneof(fc.string(), fc.constantFrom(7, null)),
      exp: time,
      nbf: time,
      iat: time,
      iss: fc.string(),
    },
    { requiredKeys: [] },
  );
  const header = fc.record(
    { kid: fc.string(), typ: fc.constantFrom('JWT', 'at+jwt', 7), cty: fc.string() },
    { requiredKeys: [] },
  );
  const flip = fc.option(fc.nat());
  await fc.assert(
    fc.asyncProperty(header, claims, flip, async (extra, content, at) => {
      const token = mutate(signed({ alg: 'HS256', ...extra }, content, SECRET), at);
      const ours = await verifiedBy.verify(token);
      const theirs = await jwtVerify(token, key, {
        algorithms: ['HS256'],
        requiredClaims: ['exp', 'sub'],
        clockTolerance: SKEW_MS / 1_000,
      }).catch(() => undefined);
      // We accept nothing that jose rejects; what we reject beyond that is in jwt.test.ts.
      if (typeof ours !== 'string' && 'clientId' in ours) {
        expect(theirs?.payload.sub).toBe(ours.clientId);
      } else if (ours === 'expired' || ours === 'signature') expect(theirs).toBeUndefined();
    }),
    { numRuns: 500 },
  );
});

/** Replaces one character, but not the last, unless `at` is null. */
function mutate(token: string, at: number | null): string {
  if (at === null) return token;
  const i = at % (token.length - 1);
  return `${token.slice(0, i)}${token[i] === 'A' ? 'B' : 'A'}${token.slice(i + 1)}`;
}
