/**
 * HMAC with SHA-256 (RFC 2104) of short texts, by two calls of `hash`: an object of `createHmac`
 * costs several times as much as the hashes of a token or a ticket.
 */
import { hash, timingSafeEqual } from 'node:crypto';

const BLOCK_BYTES = 64;
const HASH_BYTES = 32;
const TEXT_BYTES = 1_024;

export class HmacSha256 {
  /** The key for the inner hash, and room for the text. */
  #inner = Buffer.alloc(BLOCK_BYTES + TEXT_BYTES);
  /** The key for the outer hash, and the inner hash. */
  readonly #outer = Buffer.alloc(BLOCK_BYTES + HASH_BYTES);

  constructor(secret: Buffer) {
    const key = secret.length > BLOCK_BYTES ? hash('sha256', secret, 'buffer') : secret;
    for (let i = 0; i < BLOCK_BYTES; i++) {
      const byte = key[i] ?? 0;
      this.#inner[i] = byte ^ 0x36;
      this.#outer[i] = byte ^ 0x5c;
    }
  }

  /** @param parts of the text, one after another; strings in UTF-8 */
  digest(encoding: 'base64url' | 'binary', ...parts: readonly (string | Uint8Array)[]): string {
    let at = BLOCK_BYTES;
    for (const part of parts) {
      const isText = typeof part === 'string';
      this.#reserve(at, isText ? part.length * 3 : part.length);
      if (isText) at += this.#inner.write(part, at);
      else {
        this.#inner.set(part, at);
        at += part.length;
      }
    }
    this.#outer.write(hash('sha256', this.#inner.subarray(0, at), 'binary'), BLOCK_BYTES, 'binary');
    return hash('sha256', this.#outer, encoding);
  }

  #reserve(at: number, bytes: number): void {
    if (at + bytes <= this.#inner.length) return;
    const larger = Buffer.alloc(2 * (at + bytes));
    this.#inner.copy(larger, 0, 0, at);
    this.#inner = larger;
  }
}

/**
 * Whether a token in JWS compact serialization is signed with the secret (HS256, RFC 7518 §3.2).
 * The signature must be in canonical base64url: no other text of the same bytes is accepted.
 * WebCrypto would verify it in another thread, which costs several times as much as its HMAC.
 */
export function isSignedWith(secret: HmacSha256, token: string): boolean {
  const dot = token.lastIndexOf('.');
  const expected = secret.digest('base64url', token.slice(0, dot));
  const signature = Buffer.from(token.slice(dot + 1));
  return signature.length === expected.length && timingSafeEqual(signature, Buffer.from(expected));
}
