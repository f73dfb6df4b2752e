/**
 * Signatures with HS256 (RFC 7518 §3.2). WebCrypto verifies in another thread, which costs several
 * times as much as the HMAC of a token.
 */
import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';

/**
 * Whether a token in JWS compact serialization is signed with the secret. The signature must be in
 * canonical base64url: no other text of the same bytes is accepted.
 */
export function isSignedWith(secret: KeyObject, token: string): boolean {
  const dot = token.lastIndexOf('.');
  const expected = createHmac('sha256', secret).update(token.slice(0, dot)).digest('base64url');
  const signature = Buffer.from(token.slice(dot + 1));
  return signature.length === expected.length && timingSafeEqual(signature, Buffer.from(expected));
}
