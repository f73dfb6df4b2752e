/**
 * Tokens that were found good lately: a signature takes long to verify, and a device that comes back
 * shows the same token. Bounded, and the token that was not seen for longest goes first. Kept by hash,
 * so that nobody finds tokens in a heap snapshot.
 */
import { createHash } from 'node:crypto';

export interface VerifiedToken {
  /** The client that it is for: its subject. */
  readonly clientId: string;
  /** Its `exp`, in milliseconds. */
  readonly expiresAtMs: number;
}

/** About 200 bytes each. */
const TOKENS_MAX = 2_000;

export class VerifiedCache {
  /** Oldest first. */
  readonly #tokens = new Map<string, VerifiedToken>();
  /** Of the keys with which all of these were verified. */
  #version = -1;

  constructor(readonly tokensMax = TOKENS_MAX) {}

  find(token: string, version: number): VerifiedToken | undefined {
    if (version !== this.#version) return undefined;
    const hash = hashOf(token);
    const found = this.#tokens.get(hash);
    if (found === undefined) return undefined;
    this.#tokens.delete(hash);
    this.#tokens.set(hash, found);
    return found;
  }

  add(token: string, version: number, verified: VerifiedToken): void {
    if (version !== this.#version) this.#tokens.clear();
    this.#version = version;
    this.#tokens.set(hashOf(token), verified);
    if (this.#tokens.size <= this.tokensMax) return;
    for (const oldest of this.#tokens.keys()) {
      this.#tokens.delete(oldest);
      break;
    }
  }
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('base64');
}
