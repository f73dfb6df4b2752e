/**
 * Verifies JSON Web Tokens (RFC 7519) as RFC 8725 asks for: the algorithm is one of those that were
 * configured, whatever the token says; its header chooses among our keys and brings none (`jku`,
 * `x5u`, `jwk` and `x5c` are not looked at); `exp` and `sub` must be there; and whatever is checked is
 * checked to be of the right type first.
 */
import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from 'jose';
import type { KeySet } from './key-set.js';
import { ALGORITHMS, type Algorithm, type VerificationKey } from './keys.js';
import { VerifiedCache, type VerifiedToken } from './verified-cache.js';

export interface JwtPolicy {
  /** One of them must be in `aud`. None: a token that has an audience is not for us. */
  readonly audiences: readonly string[];
  /** `iss` must be one of them. None: any will do. */
  readonly issuers: readonly string[];
  /** How far other clocks may be off. */
  readonly skewMs: number;
}

/** Why a token is not good. */
export type TokenProblem =
  | 'too_long'
  | 'malformed'
  | 'algorithm'
  | 'key'
  | 'signature'
  | 'expired'
  | 'not_yet_valid'
  | 'audience'
  | 'issuer'
  | 'no_keys'
  | 'overloaded';

export const TOKEN_LENGTH_MAX = 8 * 1024;
/** Three parts, none of them empty: a token without a signature does not look like one. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
/** Tokens that are being verified. At some 10,000 a second, the last one waits for less than one. */
const IN_FLIGHT_MAX = 8_192;

export class JwtVerifier {
  readonly #cache = new VerifiedCache();
  #inFlight = 0;

  /** @param now Unix time in milliseconds */
  constructor(
    readonly keys: KeySet,
    readonly policy: JwtPolicy,
    readonly now: () => number = Date.now,
  ) {}

  /** Answers at once about what is known already. */
  verify(token: string): VerifiedToken | TokenProblem | Promise<VerifiedToken | TokenProblem> {
    if (token.length > TOKEN_LENGTH_MAX) return 'too_long';
    const known = this.#cache.find(token, this.keys.version);
    if (known !== undefined) return this.#isExpired(known) ? 'expired' : known;
    if (this.keys.isEmpty) return 'no_keys';
    const header = readHeader(token);
    if (header === undefined) return 'malformed';
    const { algorithm, kid } = header;
    if (algorithm === undefined || !this.keys.algorithms.includes(algorithm)) return 'algorithm';
    if (this.#inFlight >= IN_FLIGHT_MAX) return 'overloaded';
    this.#inFlight++;
    return this.#verifySlowly(token, algorithm, kid).finally(() => {
      this.#inFlight--;
    });
  }

  /** Whether this very token was verified before, with keys that are still in force. */
  isCached(token: string): boolean {
    return this.#cache.find(token, this.keys.version) !== undefined;
  }

  async #verifySlowly(
    token: string,
    algorithm: Algorithm,
    kid: string | undefined,
  ): Promise<VerifiedToken | TokenProblem> {
    let keys = this.keys.fitting(algorithm, kid);
    if (keys.length === 0) {
      await this.keys.lookAgain?.();
      keys = this.keys.fitting(algorithm, kid);
    }
    const { version } = this.keys;
    let result: JWTPayload | TokenProblem = 'key';
    for (const key of keys) {
      result = await this.#verifyWith(token, key);
      if (result !== 'signature') break;
    }
    if (typeof result === 'string') return result;
    const verified = this.#readClaims(result);
    if (typeof verified !== 'string') this.#cache.add(token, version, verified);
    return verified;
  }

  async #verifyWith(token: string, { key, algorithm }: VerificationKey) {
    const { issuers, audiences, skewMs } = this.policy;
    try {
      const { payload } = await jwtVerify(token, key, {
        algorithms: [algorithm],
        requiredClaims: ['exp', 'sub'],
        clockTolerance: skewMs / 1_000,
        currentDate: new Date(this.now()),
        ...(issuers.length > 0 && { issuer: [...issuers] }),
        ...(audiences.length > 0 && { audience: [...audiences] }),
      });
      return payload;
    } catch (error) {
      return problemOf(error);
    }
  }

  /** What the library leaves to us: it takes 1e400, which is Infinity, for a time. */
  #readClaims({ sub, exp, iat, nbf, aud }: JWTPayload): VerifiedToken | TokenProblem {
    if (typeof sub !== 'string' || sub === '' || !isTime(exp)) return 'malformed';
    if ((iat !== undefined && !isTime(iat)) || (nbf !== undefined && !isTime(nbf))) {
      return 'malformed';
    }
    // RFC 7519 §4.1.3: with an audience to which we do not belong it must be rejected.
    if (aud !== undefined && this.policy.audiences.length === 0) return 'audience';
    if (iat !== undefined && iat * 1_000 > this.now() + this.policy.skewMs) return 'not_yet_valid';
    return { clientId: sub, expiresAtMs: exp * 1_000 };
  }

  #isExpired({ expiresAtMs }: VerifiedToken): boolean {
    return expiresAtMs + this.policy.skewMs <= this.now();
  }
}

/** RFC 7519 §2, NumericDate: seconds. Beyond what a number can count there is no time. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER / 1_000;
}

function readHeader(token: string) {
  if (!COMPACT.test(token)) return undefined;
  try {
    const { alg, kid } = decodeProtectedHeader(token) as Record<string, unknown>;
    if (kid !== undefined && typeof kid !== 'string') return undefined;
    return { algorithm: ALGORITHMS.find((algorithm) => algorithm === alg), kid };
  } catch {
    return undefined; // No base64url, no JSON, no object.
  }
}

function problemOf(error: unknown): TokenProblem {
  if (error instanceof errors.JWTExpired) return 'expired';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'signature';
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'aud') return 'audience';
    if (error.claim === 'iss') return 'issuer';
    if (error.claim === 'nbf' && error.reason === 'check_failed') return 'not_yet_valid';
  }
  if (error instanceof errors.JOSEError) return 'malformed';
  throw error;
}
