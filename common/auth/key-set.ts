/** The verification keys in use. They are replaced together when their file or URL changes. */
import { type Algorithm, KID_LENGTH_MAX, type VerificationKey } from './keys.js';

/** Limits the signatures verified per token: each candidate key costs one. */
const CANDIDATES_MAX = 4;

export class KeySet {
  #keys: readonly VerificationKey[] = [];
  #version = 0;
  /** Fetches newer keys, resolving when done; undefined unless the keys come from a URL. */
  refetch: (() => Promise<void>) | undefined;

  /** @param algorithms keys of other algorithms are ignored */
  constructor(readonly algorithms: readonly Algorithm[]) {}

  /** Increases with each change; results from an older version are invalid. */
  get version(): number {
    return this.#version;
  }

  get isEmpty(): boolean {
    return this.#keys.length === 0;
  }

  replace(keys: readonly VerificationKey[]): void {
    this.#keys = keys.filter(({ algorithm }) => this.algorithms.includes(algorithm));
    this.#version++;
  }

  /**
   * Returns the keys that may have signed a token: the one with its `kid` or, without a `kid`, all
   * keys of its algorithm, unless they are too many to try. A `kid` only selects among these keys;
   * it is never used as a path, query or URL.
   */
  candidates(algorithm: Algorithm, kid: string | undefined): readonly VerificationKey[] {
    if (kid !== undefined && kid.length > KID_LENGTH_MAX) return [];
    const keys = this.#keys.filter((key) => key.algorithm === algorithm);
    // A PEM and a plain secret have no kid; they also serve tokens with one.
    const named = kid === undefined ? keys : keys.filter((key) => (key.kid ?? kid) === kid);
    return named.length <= CANDIDATES_MAX ? named : [];
  }
}
