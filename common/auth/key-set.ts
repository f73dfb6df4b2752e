/** The keys that are in force. They are replaced as a whole when a file or a URL has others. */
import { type Algorithm, KID_LENGTH_MAX, type VerificationKey } from './keys.js';

/** Trying a token with several keys costs as much as so many tokens. */
const TRIED_MAX = 4;

export class KeySet {
  #keys: readonly VerificationKey[] = [];
  #version = 0;
  /** Looks whether there are newer keys; resolves when that is known. For keys that come by URL. */
  lookAgain: (() => Promise<void>) | undefined;

  /** @param algorithms the ones that count; keys of others are as good as absent */
  constructor(readonly algorithms: readonly Algorithm[]) {}

  /** Grows with each change: what was concluded from keys of an older version is worth nothing. */
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
   * The keys that may have signed a token: the one that it names or, if it names none, all of its
   * algorithm, unless they are too many to try. A name only ever selects among what is here: it is
   * no path, no query and no URL.
   */
  fitting(algorithm: Algorithm, kid: string | undefined): readonly VerificationKey[] {
    if (kid !== undefined && kid.length > KID_LENGTH_MAX) return [];
    const keys = this.#keys.filter((key) => key.algorithm === algorithm);
    // A PEM and a plain secret have no name: they serve tokens that name a key as well.
    const named = kid === undefined ? keys : keys.filter((key) => (key.kid ?? kid) === kid);
    return named.length <= TRIED_MAX ? named : [];
  }
}
