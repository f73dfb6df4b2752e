/**
 * Verifies JSON Web Tokens (RFC 7519) according to RFC 8725: only configured algorithms are
 * accepted; the token header selects among the configured keys and cannot supply one (`jku`, `x5u`,
 * `jwk` and `x5c` are ignored); `exp` and `sub` are required; the type of a claim is checked before
 * its value.
 */
import {
  decodeProtectedHeader,
  errors,
  type JWTClaimVerificationOptions,
  type JWTPayload,
  jwtVerify,
} from 'jose';
import { labelsText, readLabelsClaim } from '../labels/labels.js';
import type { Rejection } from '../process/errors.js';
import { unixMs } from '../process/time/clock.js';
import { type ClaimProblem, decodeClaims, rejectClaims } from './claims/claims.js';
import { readGroupsClaim } from './claims/group-claims.js';
import { isSignedWith } from './hmac-sha256.js';
import type { KeySet } from './key-set.js';
import { ALGORITHMS, type Algorithm, type VerificationKey } from './keys.js';
import { keyOf, VerifiedCache, type VerifiedToken } from './verified-cache.js';

export interface JwtPolicy {
  /** `aud` must contain one of them. Empty: a token with an `aud` is rejected. */
  readonly audiences: readonly string[];
  /** `iss` must be one of them. Empty: any. */
  readonly issuers: readonly string[];
  /** Tolerated clock difference in milliseconds. */
  readonly skewMs: number;
  /** Name of the claim with the labels of the device. */
  readonly labelsClaim: string;
  /** Name of the claim with the groups that the device may join and leave. */
  readonly groupsClaim: string;
}

/** Why a token is rejected. */
export type TokenProblem =
  | ClaimProblem
  | 'too_long'
  | 'algorithm'
  | 'key'
  | 'signature'
  | 'issued_in_future'
  | 'no_keys'
  | 'overloaded';

/** A `Rejection`: the token is valid, but its labels or groups are not. */
export type Verification = VerifiedToken | TokenProblem | Rejection;

export const TOKEN_LENGTH_MAX = 8 * 1024;
/** JWS compact serialization with three non-empty parts, so never without a signature. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
/** Verifications in progress. At about 10,000 a second, the last one waits less than a second. */
const IN_FLIGHT_MAX = 8_192;

export class JwtVerifier {
  readonly #cache = new VerifiedCache();
  #inFlight = 0;
  /** The header that was read last: those of one issuer are equal. */
  #header: TokenHeader | undefined;
  #headerText = '';

  /** @param now Unix time in milliseconds */
  constructor(
    readonly keys: KeySet,
    readonly policy: JwtPolicy,
    readonly now: () => number = unixMs,
  ) {}

  /** A hash of the token, for both of the methods below; '' for one that is too long. */
  keyOf(token: string): string {
    return token.length > TOKEN_LENGTH_MAX ? '' : keyOf(token);
  }

  /** The result for a token that was verified before with the keys in use. */
  findVerified(token: string, key = this.keyOf(token)): VerifiedToken | 'expired' | undefined {
    const known = this.#cache.find(key, this.keys.version);
    return known !== undefined && this.#isExpired(known) ? 'expired' : known;
  }

  /**
   * Returns the result directly for HS256, which is not worth a thread, and for a rejected header.
   */
  verify(token: string, key = this.keyOf(token)): Verification | Promise<Verification> {
    if (token.length > TOKEN_LENGTH_MAX) return 'too_long';
    if (this.keys.isEmpty) return 'no_keys';
    const header = this.#readHeader(token);
    if (header === undefined) return 'malformed';
    const { algorithm, kid, hasExtensions } = header;
    if (algorithm === undefined || !this.keys.algorithms.includes(algorithm)) return 'algorithm';
    const keys = this.keys.candidates(algorithm, kid);
    if (algorithm === 'HS256' && !hasExtensions && keys.length > 0) {
      return this.#verifyHmac(token, key, keys);
    }
    if (this.#inFlight >= IN_FLIGHT_MAX) return 'overloaded';
    this.#inFlight++;
    return this.#verifySignature(token, key, algorithm, kid).finally(() => {
      this.#inFlight--;
    });
  }

  #readHeader(token: string): TokenHeader | undefined {
    if (!COMPACT.test(token)) return undefined;
    const text = token.slice(0, token.indexOf('.'));
    if (text !== this.#headerText) {
      this.#headerText = text;
      this.#header = readHeader(token);
    }
    return this.#header;
  }

  #verifyHmac(token: string, cacheKey: string, keys: readonly VerificationKey[]): Verification {
    const isSigned = keys.some(({ secret }) => secret !== undefined && isSignedWith(secret, token));
    if (!isSigned) return 'signature';
    const from = token.indexOf('.') + 1;
    const claims = decodeClaims(token.slice(from, token.indexOf('.', from)));
    if (claims === undefined) return 'malformed';
    const problem = rejectClaims(claims, this.policy, this.now());
    return problem ?? this.#readClaims(cacheKey, claims, this.keys.version);
  }

  async #verifySignature(
    token: string,
    cacheKey: string,
    algorithm: Algorithm,
    kid: string | undefined,
  ): Promise<Verification> {
    let keys = this.keys.candidates(algorithm, kid);
    if (keys.length === 0) {
      await this.keys.refetch?.();
      keys = this.keys.candidates(algorithm, kid);
    }
    const { version } = this.keys;
    let result: JWTPayload | TokenProblem = 'key';
    for (const key of keys) {
      result = await this.#verifyWith(token, key);
      if (result !== 'signature') break;
    }
    if (typeof result === 'string') return result;
    return this.#readClaims(cacheKey, result, version);
  }

  async #verifyWith(token: string, { key, algorithm }: VerificationKey) {
    try {
      const options = { algorithms: [algorithm], ...this.#claimChecks() };
      return (await jwtVerify(token, key, options)).payload;
    } catch (error) {
      return problemOf(error);
    }
  }

  #claimChecks(): JWTClaimVerificationOptions {
    const { issuers, audiences, skewMs } = this.policy;
    return {
      requiredClaims: ['exp', 'sub'],
      clockTolerance: skewMs / 1_000,
      currentDate: new Date(this.now()),
      ...(issuers.length > 0 && { issuer: [...issuers] }),
      ...(audiences.length > 0 && { audience: [...audiences] }),
    };
  }

  /**
   * Checks what jose does not: it accepts 1e400, which is Infinity, as a time. Remembers the token.
   * @param version of the key set that verified it
   */
  #readClaims(key: string, claims: JWTPayload, version: number): Verification {
    const { sub, exp, iat, nbf, aud } = claims;
    if (typeof sub !== 'string' || sub === '' || !isTime(exp)) return 'malformed';
    if ((iat !== undefined && !isTime(iat)) || (nbf !== undefined && !isTime(nbf))) {
      return 'malformed';
    }
    // RFC 7519 §4.1.3: a token for another audience must be rejected.
    if (aud !== undefined && this.policy.audiences.length === 0) return 'audience';
    if (iat !== undefined && iat * 1_000 > this.now() + this.policy.skewMs) {
      return 'issued_in_future';
    }
    const labels = readLabelsClaim(claims[this.policy.labelsClaim]);
    if ('code' in labels) return labels;
    const groups = readGroupsClaim(claims[this.policy.groupsClaim]);
    if (typeof groups !== 'string') return groups;
    const verified = {
      clientId: sub,
      expiresAtMs: exp * 1_000,
      issuedAtMs: (iat ?? 0) * 1_000,
      labels: labelsText(labels),
      groups,
    };
    this.#cache.add(key, version, verified);
    return verified;
  }

  #isExpired({ expiresAtMs }: VerifiedToken): boolean {
    return expiresAtMs + this.policy.skewMs <= this.now();
  }
}

/** RFC 7519 §2, NumericDate: seconds, bounded so that milliseconds are a safe integer. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER / 1_000;
}

interface TokenHeader {
  /** Undefined: it is not one of ours. */
  readonly algorithm: Algorithm | undefined;
  readonly kid: string | undefined;
  readonly hasExtensions: boolean;
}

/** @param token in compact serialization */
function readHeader(token: string): TokenHeader | undefined {
  try {
    const header = decodeProtectedHeader(token) as Record<string, unknown>;
    const { alg, kid } = header;
    if (kid !== undefined && typeof kid !== 'string') return undefined;
    const algorithm = ALGORITHMS.find((each) => each === alg);
    // They change how a token is verified (RFC 7515 §4.1.11, RFC 7797): left to jose.
    return { algorithm, kid, hasExtensions: 'crit' in header || 'b64' in header };
  } catch {
    return undefined; // Not base64url, not JSON, or not an object.
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
