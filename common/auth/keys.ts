/**
 * Reads verification keys from PEM, JWK, JWKS or a plain secret.
 *
 * The type of a key determines its one algorithm, so that the header of a token can never turn an
 * RSA public key into the secret of an HMAC (RFC 8725 §2.1). Only public keys and secrets are
 * accepted; a private key is rejected with an error, as it must not be on edges and routers.
 */
import { createPublicKey, type JsonWebKey, type KeyObject, webcrypto } from 'node:crypto';
import type { JWK } from 'jose';
import { HmacSha256 } from './hmac-sha256.js';

export const ALGORITHMS = ['HS256', 'RS256', 'ES256', 'EdDSA'] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

export interface VerificationKey {
  /** Undefined: the key has no key id and serves tokens with any or none. */
  readonly kid: string | undefined;
  readonly algorithm: Algorithm;
  readonly key: webcrypto.CryptoKey;
  /** The same key for `isSignedWith`, of an HS256 key. */
  readonly secret?: HmacSha256;
}

/** RFC 7518 §3.2: at least the size of the hash. */
const SECRET_BYTES_MIN = 32;
/** RFC 7518 §3.3 */
const RSA_BITS_MIN = 2048;
const KEYS_MAX = 64;
export const KID_LENGTH_MAX = 256;
const PEM = /-----BEGIN ([A-Z ]+)-----[^-]+-----END \1-----/g;

/**
 * Reads one key or several.
 * @throws Error without any part of a secret in its message
 */
export function readKeys(text: string): Promise<VerificationKey[]> {
  const trimmed = text.trim();
  if (trimmed.startsWith('{')) return readJson(trimmed);
  const pems = trimmed.match(PEM);
  if (pems !== null) return Promise.all(pems.map(readPem));
  if (trimmed.startsWith('-----')) throw new Error('the PEM is incomplete');
  return Promise.all([secretKey(Buffer.from(trimmed), undefined)]);
}

/** @throws Error when the text is neither a JWK nor a JWKS with a usable key */
async function readJson(text: string): Promise<VerificationKey[]> {
  const value: unknown = JSON.parse(text);
  if (!isObject(value)) throw new Error('expected a JWK or a JWKS');
  if (!('keys' in value)) return [await readJwk(value)];
  if (!Array.isArray(value.keys)) throw new Error('`keys` of a JWKS must be an array');
  if (value.keys.length > KEYS_MAX)
    throw new Error(`the JWKS has ${value.keys.length} keys; the maximum is ${KEYS_MAX}`);
  // A set may contain keys of unknown types and for other uses (RFC 7517 §5).
  const read = await Promise.allSettled(value.keys.map(readJwk));
  const keys = read.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  if (keys.length > 0) return keys;
  const [first] = read;
  throw new Error(
    `the JWKS has no usable key${first && `: ${(first as PromiseRejectedResult).reason.message}`}`,
  );
}

async function readJwk(jwk: unknown): Promise<VerificationKey> {
  if (!isObject(jwk)) throw new Error('a JWK must be an object');
  const { kty, kid, use, alg, key_ops: operations } = jwk;
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > KID_LENGTH_MAX)) {
    throw new Error(`\`kid\` of a JWK must be a string of at most ${KID_LENGTH_MAX} characters`);
  }
  if (use !== undefined && use !== 'sig') throw new Error('`use` of the JWK is not `sig`');
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) {
    throw new Error('`key_ops` of the JWK does not contain `verify`');
  }
  const key = kty === 'oct' ? await secretOf(jwk, kid) : await publicKeyOf(jwk, kid);
  if (alg !== undefined && alg !== key.algorithm) {
    throw new Error(`\`alg\` of the JWK is ${alg}; keys of its type are used for ${key.algorithm}`);
  }
  return key;
}

function secretOf({ k }: Record<string, unknown>, kid: string | undefined) {
  if (typeof k !== 'string') throw new Error('the JWK has no secret (`k`)');
  return secretKey(Buffer.from(k, 'base64url'), kid);
}

function publicKeyOf(jwk: Record<string, unknown>, kid: string | undefined) {
  if ('d' in jwk) throw new Error('this is a private key; configure only its public key');
  return publicKey(createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' }), kid);
}

async function readPem(pem: string): Promise<VerificationKey> {
  if (pem.includes('PRIVATE KEY')) {
    throw new Error('this is a private key; configure only its public key');
  }
  return publicKey(createPublicKey(pem), undefined);
}

async function publicKey(key: KeyObject, kid: string | undefined): Promise<VerificationKey> {
  const algorithm = algorithmOf(key);
  // Only here: most processes have no public key, and the library costs each start 70 ms.
  const { importJWK } = await import('jose');
  const imported = await importJWK(key.export({ format: 'jwk' }) as JWK, algorithm);
  return { kid, algorithm, key: imported as webcrypto.CryptoKey };
}

function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): Algorithm {
  if (asymmetricKeyType === 'rsa') {
    const bits = asymmetricKeyDetails?.modulusLength ?? 0;
    if (bits >= RSA_BITS_MIN) return 'RS256';
    throw new Error(`the RSA key has ${bits} bits; the minimum is ${RSA_BITS_MIN}`);
  }
  if (asymmetricKeyType === 'ed25519') return 'EdDSA';
  if (asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'prime256v1') {
    return 'ES256';
  }
  throw new Error('expected an RSA, P-256 or Ed25519 key');
}

async function secretKey(secret: Buffer, kid: string | undefined): Promise<VerificationKey> {
  if (secret.length < SECRET_BYTES_MIN) {
    const bytes = `${secret.length} bytes; the minimum is ${SECRET_BYTES_MIN}`;
    throw new Error(`the HS256 secret has ${bytes}`);
  }
  const hmac = { name: 'HMAC', hash: 'SHA-256' };
  const key = await webcrypto.subtle.importKey('raw', secret, hmac, false, ['verify']);
  return { kid, algorithm: 'HS256', key, secret: new HmacSha256(secret) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
