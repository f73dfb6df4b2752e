/**
 * Cache of the newest verified tokens: verifying a signature is expensive, and a device that
 * reconnects sends the same token. Keyed by hash, so that a heap snapshot contains no tokens.
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

/**
 * Two maps with half of the tokens each: to delete the oldest entry of one map costs more the more
 * were deleted before.
 */
export class VerifiedCache {
  #newer = new Map<string, VerifiedToken>();
  #older = new Map<string, VerifiedToken>();
  /** Version of the key set that verified all of these tokens. */
  #version = -1;

  constructor(readonly tokensMax = TOKENS_MAX) {}

  /** @param key the token, as `keyOf` has hashed it */
  find(key: string, version: number): VerifiedToken | undefined {
    if (version !== this.#version) return undefined;
    const newer = this.#newer.get(key);
    if (newer !== undefined) return newer;
    const older = this.#older.get(key);
    if (older !== undefined) this.add(key, version, older);
    return older;
  }

  add(key: string, version: number, verified: VerifiedToken): void {
    const isOther = version !== this.#version;
    if (isOther || this.#newer.size >= this.tokensMax / 2) {
      this.#older = isOther ? new Map() : this.#newer;
      this.#newer = new Map();
    }
    this.#version = version;
    this.#newer.set(key, verified);
  }
}

export function keyOf(token: string): string {
  return hash('sha256', token, 'base64');
}
