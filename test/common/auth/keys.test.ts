import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { expect, test } from '@jest/globals';
import { readKeys } from '../../../common/auth/keys.js';
import { ed25519, jwkOf, p256, pemOf, rsa, SECRET } from '../../support/tokens.js';

async function read(text: string) {
  return (await readKeys(text)).map(({ kid, algorithm }) => [kid, algorithm]);
}

const json = JSON.stringify;
const oct = (bytes: number) => ({ kty: 'oct', k: Buffer.alloc(bytes, 7).toString('base64url') });

test('reads PEM, one or several, JWK, JWKS and a plain secret', async () => {
  expect(await read(pemOf(rsa))).toEqual([[undefined, 'RS256']]);
  expect(await read(`${pemOf(p256)}\n# the next one\n${pemOf(ed25519)}`)).toEqual([
    [undefined, 'ES256'],
    [undefined, 'EdDSA'],
  ]);
  expect(await read(json(jwkOf(ed25519, 'a')))).toEqual([['a', 'EdDSA']]);
  expect(await read(` ${json({ keys: [jwkOf(rsa, 'b'), jwkOf(p256, 'c')] })}\n`)).toEqual([
    ['b', 'RS256'],
    ['c', 'ES256'],
  ]);
  expect(await read(json({ ...oct(32), kid: 'd', alg: 'HS256' }))).toEqual([['d', 'HS256']]);
  expect(await read(`${SECRET}\n`)).toEqual([[undefined, 'HS256']]);
});

test('reads the usable keys of a JWKS (RFC 7517 §5)', async () => {
  const keys = [
    { kty: 'AKP', kid: 'unknown kind' },
    { ...jwkOf(rsa, 'encrypts'), use: 'enc' },
    { ...jwkOf(rsa, 'another algorithm'), alg: 'PS256' },
    { ...jwkOf(rsa, 'signs'), key_ops: ['sign'] },
    { ...jwkOf(p256, 'broken'), x: 'AA' },
    7,
    jwkOf(p256, 'good'),
  ];
  expect(await read(json({ keys }))).toEqual([['good', 'ES256']]);
  await expect(read(json({ keys: keys.slice(0, -1) }))).rejects.toThrow(/no usable key/);
  await expect(read(json({ keys: [] }))).rejects.toThrow(/no usable key/);
});

const short = generateKeyPairSync('rsa', { modulusLength: 1024 });
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const privatePem = rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

test.each([
  ['an empty text', ''],
  ['a secret of 31 bytes', 'x'.repeat(31)],
  ['a JWK secret of 31 bytes', json(oct(31))],
  ['half a PEM', pemOf(rsa).slice(0, 100)],
  ['a private key', privatePem],
  ['a private JWK', json(createPrivateKey(privatePem).export({ format: 'jwk' }))],
  ['RSA of 1024 bits', pemOf(short)],
  ['P-384', pemOf(p384)],
  ['half a JSON', '{"kty":'],
  ['keys that are not an array', '{"keys":{}}'],
  ['more than 64 keys', json({ keys: Array.from({ length: 65 }, () => jwkOf(p256, 'a')) })],
  ['a kid that is a number', json({ ...jwkOf(p256, 'a'), kid: 7 })],
  ['a kid of 257 characters', json(jwkOf(p256, 'k'.repeat(257)))],
])('rejects %s without repeating it', async (_, text) => {
  await expect(read(text)).rejects.toThrow();
  const { message } = (await read(text).catch((error) => error)) as Error;
  if (text.length > 30) expect(message).not.toContain(text.slice(0, 30));
});
