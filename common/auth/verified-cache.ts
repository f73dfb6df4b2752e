/**
 * LRU cache of verified tokens: verifying a signature is expensive, and a device that reconnects
 * sends the same token. Keyed by hash, so that a heap snapshot contains no tokens.
 */
import { hash } from 'node:crypto';
import type { GroupClaims } from './claims/group-claims.js';

export interface VerifiedToken {
  /** The subject of the token. */
  readonly clientId: string;
  /** The `exp` of the token, in Unix ms. */
  readonly expiresAtMs: number;
  /** Its `iat`, in Unix ms; 0: it has none. */
  readonly issuedAtMs: number;
  /** The labels of the token, as `labelsText` writes them; '': none. */
  readonly labels: string;
  readonly groups: GroupClaims;
}

/** Maximum tokens. An entry takes about 200 bytes, and its labels and groups. */
const TOKENS_MAX = 2_000;

export class VerifiedCache {
  /** Least recently used first. */
  readonly #tokens = new Map<string, VerifiedToken>();
  /** Version of the key set that verified all of these tokens. */
  #version = -1;

  constructor(readonly tokensMax = TOKENS_MAX) {}

  /** @param key the token, as `keyOf` has hashed it */
  find(key: string, version: number): VerifiedToken | undefined {
    if (version !== this.#version) return undefined;
    const found = this.#tokens.get(key);
    if (found === undefined) return undefined;
    this.#tokens.delete(key);
    this.#tokens.set(key, found);
    return found;
  }

  add(key: string, version: number, verified: VerifiedToken): void {
    if (version !== this.#version) this.#tokens.clear();
    this.#version = version;
    this.#tokens.set(key, verified);
    if (this.#tokens.size <= this.tokensMax) return;
    for (const oldest of this.#tokens.keys()) {
      this.#tokens.delete(oldest);
      break;
    }
  }
}

export function keyOf(token: string): string {
  return hash('sha256', token, 'base64');
}
