/** The claims of a token, of which jose must say the same. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { errors, UnsecuredJWT } from 'jose';
import {
  type ClaimPolicy,
  type ClaimProblem,
  decodeClaims,
  rejectClaims,
} from '../../../../common/auth/claims/claims.js';

const NOW_MS = 1_700_000_000_500;
const UNSECURED_HEADER = 'eyJhbGciOiJub25lIn0';

const time = fc.oneof(
  fc.integer({ min: -3, max: 3 }).map((offset) => Math.floor(NOW_MS / 1_000) + offset),
  fc.constantFrom('9999999999', null, -1, 1e300, 1_700_000_000.5, [1_700_000_060], true),
);
const name = fc.constantFrom('a', 'b', 'c');
const claims = fc.record(
  {
    sub: fc.oneof(name, fc.constantFrom(7, null)),
    exp: time,
    nbf: time,
    iat: time,
    iss: fc.oneof(name, fc.constantFrom(7, null, ['a'])),
    aud: fc.oneof(name, fc.array(fc.oneof(name, fc.constant(7))), fc.constantFrom(7, null, {})),
    ['__proto__']: fc.constantFrom({ iss: 'a', aud: 'a', exp: 9_999_999_999 }),
  },
  { requiredKeys: [], noNullPrototype: true },
);
const names = fc.uniqueArray(name, { maxLength: 2 });
const policy = fc.record({
  audiences: names,
  issuers: names,
  skewMs: fc.constantFrom(0, 500, 1_000, 60_000),
});

test('valid JSON has the verdict of jose', () => {
  fc.assert(
    fc.property(claims, policy, (each, checks) => {
      const encoded = encode(JSON.stringify(each));
      expect(verdictOf(encoded, checks)).toBe(verdictOfJose(encoded, checks));
    }),
    { numRuns: 2_000 },
  );
});

test('any text has the verdict of jose', () => {
  const text = fc.oneof(
    fc.json().map(encode),
    fc.uint8Array().map((bytes) => Buffer.from(bytes).toString('base64url')),
    fc.stringMatching(/^[\w-]+$/),
    fc.constantFrom('{"exp":1,"exp":9999999999,"sub":"a"}', '{"exp":1e400,"sub":"a"}').map(encode),
  );
  fc.assert(
    fc.property(text, policy, (encoded, checks) => {
      expect(verdictOf(encoded, checks)).toBe(verdictOfJose(encoded, checks));
    }),
    { numRuns: 2_000 },
  );
});

function encode(json: string): string {
  return Buffer.from(json).toString('base64url');
}

function verdictOf(encoded: string, checks: ClaimPolicy): ClaimProblem | undefined {
  const decoded = decodeClaims(encoded);
  return decoded === undefined ? 'malformed' : rejectClaims(decoded, checks, NOW_MS);
}

function verdictOfJose(encoded: string, checks: ClaimPolicy): ClaimProblem | undefined {
  const { audiences, issuers, skewMs } = checks;
  try {
    UnsecuredJWT.decode(`${UNSECURED_HEADER}.${encoded}.`, {
      requiredClaims: ['exp', 'sub'],
      clockTolerance: skewMs / 1_000,
      currentDate: new Date(NOW_MS),
      ...(issuers.length > 0 && { issuer: [...issuers] }),
      ...(audiences.length > 0 && { audience: [...audiences] }),
    });
    return undefined;
  } catch (error) {
    if (error instanceof errors.JWTExpired) return 'expired';
    if (!(error instanceof errors.JWTClaimValidationFailed)) return 'malformed';
    if (error.claim === 'aud') return 'audience';
    if (error.claim === 'iss') return 'issuer';
    const isEarly = error.claim === 'nbf' && error.reason === 'check_failed';
    return isEarly ? 'not_yet_valid' : 'malformed';
  }
}
