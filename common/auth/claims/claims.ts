/**
 * The claims of a token whose signature is verified, with the verdicts that jose gives, which takes
 * several times as long as the signature of HS256.
 */
import { isUtf8 } from 'node:buffer';
import type { JWTPayload } from 'jose';

/** Decodes the claims of a token; undefined unless they are a JSON object in base64url. */
export function decodeClaims(encoded: string): JWTPayload | undefined {
  // Buffer ignores a last character that has no byte.
  if (encoded.length % 4 === 1) return undefined;
  const bytes = Buffer.from(encoded, 'base64url');
  if (!isUtf8(bytes)) return undefined;
  try {
    const claims: unknown = JSON.parse(bytes.toString());
    const isObject = typeof claims === 'object' && claims !== null && !Array.isArray(claims);
    return isObject ? (claims as JWTPayload) : undefined;
  } catch {
    return undefined;
  }
}

export interface ClaimPolicy {
  /** `aud` must contain one of them. Empty: any. */
  readonly audiences: readonly string[];
  /** `iss` must be one of them. Empty: any. */
  readonly issuers: readonly string[];
  /** Tolerated clock difference in milliseconds. */
  readonly skewMs: number;
}

export type ClaimProblem = 'malformed' | 'issuer' | 'audience' | 'not_yet_valid' | 'expired';

/** Returns why the claims are rejected; undefined if they are not. */
export function rejectClaims(
  claims: JWTPayload,
  { audiences, issuers, skewMs }: ClaimPolicy,
  nowMs: number,
): ClaimProblem | undefined {
  if (issuers.length > 0 && !Object.hasOwn(claims, 'iss')) return 'issuer';
  if (audiences.length > 0 && !Object.hasOwn(claims, 'aud')) return 'audience';
  if (!Object.hasOwn(claims, 'sub') || !Object.hasOwn(claims, 'exp')) return 'malformed';
  const { iss, aud, exp, nbf, iat } = claims;
  if (issuers.length > 0 && !issuers.some((each) => each === iss)) return 'issuer';
  if (audiences.length > 0 && !isFor(audiences, aud)) return 'audience';
  if (!isTime(iat) || !isTime(nbf)) return 'malformed';
  const nowS = Math.floor(nowMs / 1_000);
  const skewS = skewMs / 1_000;
  if (nbf !== undefined && nbf > nowS + skewS) return 'not_yet_valid';
  if (!isTime(exp)) return 'malformed';
  return exp !== undefined && exp <= nowS - skewS ? 'expired' : undefined;
}

function isFor(audiences: readonly string[], aud: unknown): boolean {
  if (typeof aud === 'string') return audiences.includes(aud);
  return Array.isArray(aud) && audiences.some((each) => aud.includes(each));
}

function isTime(claim: unknown): boolean {
  return claim === undefined || typeof claim === 'number';
}
