/** Attacks on tokens from RFC 8725 and from our own list, each with its name. */
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { type JwtPolicy, JwtVerifier } from '../../../common/auth/jwt.js';
import { KeySet } from '../../../common/auth/key-set.js';
import { ALGORITHMS, type Algorithm, readKeys } from '../../../common/auth/keys.js';
import {
  base64url,
  claimsOf,
  ed25519,
  jwkOf,
  p256,
  pemOf,
  rsa,
  SECRET,
  signed,
  tokenOf,
} from '../../support/tokens.js';

const OPEN: JwtPolicy = {
  audiences: [],
  issuers: [],
  skewMs: 1_000,
  labelsClaim: 'labels',
  groupsClaim: 'groups',
};
const JWKS = JSON.stringify({
  keys: [jwkOf(rsa, 'rsa-1'), jwkOf(p256, 'ec-1'), jwkOf(ed25519, 'ed-1')],
});

interface Options {
  readonly keys?: string;
  readonly algorithms?: readonly Algorithm[];
  readonly policy?: Partial<JwtPolicy>;
  readonly now?: () => number;
}

async function verifierOf({ keys = SECRET, algorithms = ALGORITHMS, policy, now }: Options = {}) {
  const set = new KeySet(algorithms);
  set.replace(await readKeys(keys));
  return new JwtVerifier(set, { ...OPEN, ...policy }, now);
}

async function verify(token: string, options?: Options) {
  return (await verifierOf(options)).verify(token);
}

const RS256 = { alg: 'RS256', kid: 'rsa-1' };
const inSeconds = (seconds: number) => Math.floor(Date.now() / 1_000) + seconds;

describe('a valid token', () => {
  const accepted = {
    clientId: 'alice',
    expiresAtMs: expect.any(Number),
    issuedAtMs: expect.any(Number),
    labels: '',
    groups: '',
  };

  test.each([
    ['HS256', SECRET, SECRET],
    ['RS256', pemOf(rsa), rsa.privateKey],
    ['ES256', pemOf(p256), p256.privateKey],
    ['EdDSA', pemOf(ed25519), ed25519.privateKey],
  ] as const)('with %s is accepted, with or without a kid', async (alg, keys, key) => {
    expect(await verify(signed({ alg }, claimsOf('alice'), key), { keys })).toEqual(accepted);
    const named = signed({ alg, kid: 'any' }, claimsOf('alice'), key);
    expect(await verify(named, { keys })).toEqual(accepted);
  });

  test('is verified with the key of its kid', async () => {
    const token = signed({ alg: 'EdDSA', kid: 'ed-1' }, claimsOf('alice'), ed25519.privateKey);
    expect(await verify(token, { keys: JWKS })).toEqual(accepted);
  });

  test('has an expiry with fractions of a second', async () => {
    const exp = inSeconds(60) + 0.5;
    expect(await verify(tokenOf('alice', { exp }))).toEqual({
      clientId: 'alice',
      expiresAtMs: exp * 1_000,
      issuedAtMs: 0,
      labels: '',
      groups: '',
    });
  });

  test('has labels in the configured claim, sorted', async () => {
    const tags = { version: '5.2', app: 'ios' };
    const token = tokenOf('alice', { tags, labels: 'app=web' });
    expect(await verify(token)).toEqual({ ...accepted, labels: 'app=web' });
    const policy = { labelsClaim: 'tags' };
    expect(await verify(token, { policy })).toEqual({ ...accepted, labels: 'app=ios,version=5.2' });
  });

  test('has groups in the configured claim', async () => {
    const token = tokenOf('alice', { rooms: ['a', 'b-*'], groups: 'c' });
    expect(await verify(token)).toEqual({ ...accepted, groups: 'c' });
    const policy = { groupsClaim: 'rooms' };
    expect(await verify(token, { policy })).toEqual({ ...accepted, groups: 'a\nb-*' });
    expect(await verify(tokenOf('alice', { groups: [7] }))).toMatchObject({
      code: 'GROUP_INVALID',
    });
  });

  test('with an invalid label is rejected for that', async () => {
    expect(await verify(tokenOf('alice', { labels: { app: '-' } }))).toMatchObject({
      code: 'LABELS_INVALID',
    });
  });

  test('is cached until the keys change or it expires', async () => {
    let nowMs = Date.now();
    const verifier = await verifierOf({ now: () => nowMs });
    const token = tokenOf('alice');
    expect(verifier.findVerified(token)).toBeUndefined();
    expect(verifier.verify(token)).toEqual(accepted);
    expect(verifier.findVerified(token)).toEqual(accepted);
    nowMs += 3_602_000;
    expect(verifier.findVerified(token)).toBe('expired');
    nowMs -= 3_602_000;
    verifier.keys.replace(await readKeys(SECRET.toUpperCase()));
    expect(verifier.findVerified(token)).toBeUndefined();
    expect(verifier.verify(token)).toBe('signature');
  });
});

describe('algorithm', () => {
  test.each(['none', 'None', 'nOnE', 'NONE'])('alg %s is rejected', async (alg) => {
    const unsigned = `${base64url(JSON.stringify({ alg }))}.${base64url(JSON.stringify(claimsOf('alice')))}.`;
    expect(await verify(unsigned)).toBe('malformed');
    expect(await verify(`${unsigned}AA`)).toBe('algorithm');
  });

  test('HS256 with the RSA public key as the secret is rejected', async () => {
    for (const secret of [pemOf(rsa), pemOf(rsa).trim()]) {
      const token = signed({ alg: 'HS256', kid: 'rsa-1' }, claimsOf('alice'), secret);
      expect(await verify(token, { keys: pemOf(rsa) })).toBe('key');
      expect(await verify(token, { keys: JWKS })).toBe('key');
      expect(await verify(token, { keys: JWKS, algorithms: ['RS256'] })).toBe('algorithm');
    }
  });

  test('an algorithm that is not configured is rejected even if its key is known', async () => {
    const token = signed({ alg: 'ES256', kid: 'ec-1' }, claimsOf('alice'), p256.privateKey);
    expect(await verify(token, { keys: JWKS, algorithms: ['RS256'] })).toBe('algorithm');
  });

  test.each(['HS384', 'RS512', 'PS256', 'ES384', 'dir', '', 1, null, ['RS256']])(
    'alg %j is rejected',
    async (alg) => {
      const token = signed({ alg } as object, claimsOf('alice'), SECRET);
      expect(await verify(token)).toBe('algorithm');
    },
  );
});

describe('key', () => {
  test('a foreign key is rejected', async () => {
    const other = generateKeyPairSync('rsa', { modulusLength: 2048 });
    expect(await verify(signed(RS256, claimsOf('alice'), other.privateKey), { keys: JWKS })).toBe(
      'signature',
    );
    const token = signed({ alg: 'HS256' }, claimsOf('alice'), `${SECRET}x`);
    expect(await verify(token)).toBe('signature');
  });

  test.each([
    '../../../dev/null',
    '/dev/null',
    'https://evil.example/keys',
    "' OR 1=1 --",
    '__proto__',
    'constructor',
    'x'.repeat(300),
    '',
    'rsa-1\0',
  ])('kid %j is not interpreted', async (kid) => {
    const token = signed({ alg: 'RS256', kid }, claimsOf('alice'), rsa.privateKey);
    expect(await verify(token, { keys: JWKS })).toBe('key');
  });

  test.each([1, null, {}, ['rsa-1'], true])('kid %j is rejected', async (kid) => {
    const token = signed({ alg: 'RS256', kid }, claimsOf('alice'), rsa.privateKey);
    expect(await verify(token, { keys: JWKS })).toBe('malformed');
  });

  test('keys in the header are ignored: jku, x5u, x5c and jwk', async () => {
    const other = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const header = {
      ...RS256,
      jku: 'http://127.0.0.1:1/jwks.json',
      x5u: 'http://127.0.0.1:1/cert.pem',
      x5c: ['MIIB'],
      jwk: jwkOf(other, 'rsa-1'),
    };
    const forged = signed(header, claimsOf('alice'), other.privateKey);
    expect(await verify(forged, { keys: JWKS })).toBe('signature');
    const good = signed(header, claimsOf('alice'), rsa.privateKey);
    expect(await verify(good, { keys: JWKS })).toMatchObject({ clientId: 'alice' });
  });

  test('a removed key is no longer accepted', async () => {
    const verifier = await verifierOf({ keys: JWKS });
    const token = signed(RS256, claimsOf('alice'), rsa.privateKey);
    expect(await verifier.verify(token)).toMatchObject({ clientId: 'alice' });
    verifier.keys.replace(await readKeys(JSON.stringify({ keys: [jwkOf(p256, 'ec-1')] })));
    expect(await verifier.verify(token)).toBe('key');
  });

  test('without keys, no token is accepted', async () => {
    const verifier = new JwtVerifier(new KeySet(ALGORITHMS), OPEN);
    expect(verifier.verify(tokenOf('alice'))).toBe('no_keys');
  });

  test('a token without a kid is tried with at most four keys', async () => {
    const pairs = Array.from({ length: 5 }, () => generateKeyPairSync('ed25519'));
    const token = signed({ alg: 'EdDSA' }, claimsOf('alice'), pairs[3]!.privateKey);
    const keysOf = (count: number) => pairs.slice(0, count).map(pemOf).join('');
    expect(await verify(token, { keys: keysOf(4) })).toMatchObject({ clientId: 'alice' });
    expect(await verify(token, { keys: keysOf(5) })).toBe('key');
  });
});

describe('claims', () => {
  const hs256 = (claims: string) => signed({ alg: 'HS256' }, claims, SECRET);

  test.each([
    ['exp is missing', '{"sub":"alice"}'],
    ['exp is a string', '{"sub":"alice","exp":"9999999999"}'],
    ['exp is 1e400', '{"sub":"alice","exp":1e400}'],
    ['exp is NaN', '{"sub":"alice","exp":NaN}'],
    ['exp is null', '{"sub":"alice","exp":null}'],
    ['exp is a list', '{"sub":"alice","exp":[9999999999]}'],
    ['exp is over the safe integers', '{"sub":"alice","exp":1e300}'],
    ['sub is missing', '{"exp":9999999999}'],
    ['sub is empty', '{"sub":"","exp":9999999999}'],
    ['sub is a number', '{"sub":7,"exp":9999999999}'],
    ['sub is a list', '{"sub":["alice"],"exp":9999999999}'],
    ['nbf is a string', '{"sub":"alice","exp":9999999999,"nbf":"0"}'],
    ['iat is a string', '{"sub":"alice","exp":9999999999,"iat":"0"}'],
    ['nbf is 1e400', '{"sub":"alice","exp":9999999999,"nbf":-1e400}'],
    ['claims are a list', '["alice"]'],
    ['claims are not JSON', 'alice'],
    ['there is a NUL in the JSON', '{"sub":"alice",\0"exp":9999999999}'],
  ])('rejected: %s', async (_, claims) => {
    expect(await verify(hs256(claims))).toBe('malformed');
  });

  test('exp in the past is rejected, beyond the clock skew', async () => {
    expect(await verify(tokenOf('alice', { exp: inSeconds(-3) }))).toBe('expired');
    const policy = { skewMs: 10_000 };
    const token = tokenOf('alice', { exp: inSeconds(-3) });
    expect(await verify(token, { policy })).toMatchObject({ clientId: 'alice' });
  });

  test('nbf and iat in the future are rejected, beyond the clock skew', async () => {
    for (const [claim, reason] of [
      ['nbf', 'not_yet_valid'],
      ['iat', 'issued_in_future'],
    ] as const) {
      const token = tokenOf('alice', { [claim]: inSeconds(5) });
      expect(await verify(token)).toBe(reason);
      const policy = { skewMs: 10_000 };
      expect(await verify(token, { policy })).toMatchObject({ clientId: 'alice' });
    }
  });

  test('a NUL in the subject is part of the subject', async () => {
    expect(await verify(hs256('{"sub":"alice\\u0000","exp":9999999999}'))).toMatchObject({
      clientId: 'alice\0',
    });
  });

  test('the last of a duplicate claim is used (RFC 7519 §4)', async () => {
    const token = hs256('{"sub":"alice","exp":9999999999,"sub":"bob","exp":1}');
    expect(await verify(token)).toBe('expired');
    expect(await verify(hs256('{"sub":"bob","exp":9999999999,"sub":"alice"}'))).toMatchObject({
      clientId: 'alice',
    });
  });

  test('a wrong audience is rejected, and any audience if none is configured', async () => {
    const policy = { audiences: ['push', 'push-eu'] };
    const ofAudience = (aud: unknown) => tokenOf('alice', { aud });
    expect(await verify(ofAudience('push-eu'), { policy })).toMatchObject({ clientId: 'alice' });
    expect(await verify(ofAudience(['x', 'push']), { policy })).toMatchObject({
      clientId: 'alice',
    });
    expect(await verify(ofAudience('shop'), { policy })).toBe('audience');
    expect(await verify(ofAudience(['shop']), { policy })).toBe('audience');
    expect(await verify(ofAudience(7), { policy })).toBe('audience');
    expect(await verify(tokenOf('alice'), { policy })).toBe('audience');
    expect(await verify(ofAudience('push'))).toBe('audience');
  });

  test('a wrong issuer is rejected', async () => {
    const policy = { issuers: ['https://login.example'] };
    const iss = 'https://login.example';
    expect(await verify(tokenOf('alice', { iss }), { policy })).toMatchObject({
      clientId: 'alice',
    });
    expect(await verify(tokenOf('alice', { iss: `${iss}/` }), { policy })).toBe('issuer');
    expect(await verify(tokenOf('alice'), { policy })).toBe('issuer');
  });
});

describe('form', () => {
  test('a token of 8 KiB is verified, a longer one is not', async () => {
    const [header, claims] = tokenOf('alice').split('.') as [string, string];
    const atBound = `${header}.${claims}.${'A'.repeat(8_192 - header.length - claims.length - 2)}`;
    expect(atBound).toHaveLength(8_192);
    expect(await verify(atBound)).toBe('signature');
    expect(await verify(`${atBound}A`)).toBe('too_long');
    expect(await verify('a'.repeat(1_000_000))).toBe('too_long');
  });

  test.each([
    '',
    '.',
    '..',
    'a.b',
    'a.b.c.d',
    'a.b.c.d.e',
    'a.b.c',
    '€.b.c',
    'a b.c.d',
    'eyJ9.e30.AA',
  ])('%j is malformed', async (token) => {
    expect(await verify(token)).toBe('malformed');
  });

  test('padding, blanks, line ends and NULs are rejected', async () => {
    const token = tokenOf('alice');
    for (const text of [
      `${token}=`,
      ` ${token}`,
      `${token}\n`,
      `${token}\0`,
      token.replace('.', '\0.'),
    ]) {
      expect(await verify(text)).toBe('malformed');
    }
  });

  test('crit and an unencoded payload are rejected (RFC 7515 §4.1.11, RFC 7797)', async () => {
    for (const header of [
      { alg: 'HS256', crit: ['exp'], exp: 1 },
      { alg: 'HS256', crit: [] },
      { alg: 'HS256', b64: false, crit: ['b64'] },
    ]) {
      expect(await verify(signed(header, claimsOf('alice'), SECRET))).toBe('malformed');
    }
  });

  test('one flipped character anywhere is rejected', async () => {
    const verifier = await verifierOf();
    const token = tokenOf('alice');
    // The last character has unused bits: another text of the same signature.
    for (let i = 0; i < token.length - 1; i++) {
      if (token[i] === '.') continue;
      const flipped = `${token.slice(0, i)}${token[i] === 'A' ? 'B' : 'A'}${token.slice(i + 1)}`;
      expect(await verifier.verify(flipped)).toEqual(expect.any(String));
    }
  });
});
