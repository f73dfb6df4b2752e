/** Signs the tokens of synthetic devices. */
import { createPrivateKey, createSecretKey, type KeyObject } from 'node:crypto';
import { SignJWT } from 'jose';

export interface DeviceKey {
  readonly algorithm: string;
  readonly key: KeyObject;
  readonly audience: string | undefined;
  readonly issuer: string | undefined;
}

const ALGORITHMS: Readonly<Record<string, string>> = {
  rsa: 'RS256',
  ec: 'ES256',
  ed25519: 'EdDSA',
};
/** Minimum that edges require of a secret. */
const SECRET_BYTES_MIN = 32;
const VALID_FOR = '1h';

/**
 * @param text PEM of a private key, or a secret for HS256
 * @returns a problem, without any part of the key, if it cannot be used
 */
export function readDeviceKey(text: string): Pick<DeviceKey, 'algorithm' | 'key'> | string {
  if (!text.startsWith('-----BEGIN')) {
    const secret = Buffer.from(text);
    if (secret.length < SECRET_BYTES_MIN) return `a secret has at least ${SECRET_BYTES_MIN} bytes`;
    return { algorithm: 'HS256', key: createSecretKey(secret) };
  }
  try {
    const key = createPrivateKey(text);
    const algorithm = ALGORITHMS[key.asymmetricKeyType ?? ''];
    return algorithm === undefined ? 'expected a key of RSA, P-256 or Ed25519' : { algorithm, key };
  } catch {
    return 'the PEM has no private key';
  }
}

export function signDeviceToken(
  { algorithm, key, audience, issuer }: DeviceKey,
  clientId: string,
): Promise<string> {
  const token = new SignJWT()
    .setProtectedHeader({ alg: algorithm })
    .setSubject(clientId)
    .setIssuedAt()
    .setExpirationTime(VALID_FOR);
  if (audience !== undefined) token.setAudience(audience);
  if (issuer !== undefined) token.setIssuer(issuer);
  return token.sign(key);
}
