/** Signs tokens with bare crypto primitives, so that tests can make invalid ones. */
import {
  createHmac,
  createSign,
  generateKeyPairSync,
  type KeyObject,
  type KeyPairKeyObjectResult,
  sign,
} from 'node:crypto';

export const SECRET = 'a-secret-of-at-least-thirty-two-bytes';

export const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
export const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
export const ed25519 = generateKeyPairSync('ed25519');

/** Claims that expire in an hour, with further ones. */
export function claimsOf(clientId: string, further: object = {}): object {
  return { sub: clientId, exp: Math.floor(Date.now() / 1_000) + 3_600, ...further };
}

/** A valid HS256 token, with further claims. */
export function tokenOf(clientId: string, further: object = {}): string {
  return signed({ alg: 'HS256', typ: 'JWT' }, claimsOf(clientId, further), SECRET);
}

/** @param claims an object, or JSON text to sign unchanged */
export function signed(header: object, claims: object | string, key: string | KeyObject): string {
  const text = typeof claims === 'string' ? claims : JSON.stringify(claims);
  const input = `${base64url(JSON.stringify(header))}.${base64url(text)}`;
  return `${input}.${signatureOf(input, key)}`;
}

export function base64url(text: string): string {
  return Buffer.from(text).toString('base64url');
}

function signatureOf(input: string, key: string | KeyObject): string {
  if (typeof key === 'string') return createHmac('sha256', key).update(input).digest('base64url');
  if (key.asymmetricKeyType === 'rsa') {
    return createSign('sha256').update(input).sign(key).toString('base64url');
  }
  if (key.asymmetricKeyType === 'ec') {
    const dsaEncoding = 'ieee-p1363';
    return sign('sha256', Buffer.from(input), { key, dsaEncoding }).toString('base64url');
  }
  return sign(null, Buffer.from(input), key).toString('base64url');
}

export function pemOf({ publicKey }: KeyPairKeyObjectResult): string {
  return publicKey.export({ type: 'spki', format: 'pem' }).toString();
}

export function jwkOf({ publicKey }: KeyPairKeyObjectResult, kid: string): object {
  return { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig' };
}
