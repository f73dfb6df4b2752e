/**
 * Lists of bearer tokens of backends, viewers and operators. Only the hash of a token is kept, so
 * that the token itself can be neither logged nor shown.
 */
import { createHash, timingSafeEqual } from 'node:crypto';

export interface Token {
  /** Owner, for logs. Two tokens may share a name, so that one can replace the other. */
  readonly name: string;
  readonly sha256: Buffer;
}

const NAME = '[A-Za-z0-9._-]{1,128}';
/** A bearer token (RFC 6750 §2.1) of a length that cannot be guessed. */
const SECRET = '[A-Za-z0-9._~+/-]{16,}=*';

/** `name:token` */
export const TOKEN_ENTRY = new RegExp(`^${NAME}:${SECRET}$`);
/** `name:scope+scope:token` */
export const SCOPED_TOKEN_ENTRY = new RegExp(`^${NAME}:[a-z+]+:${SECRET}$`);
/** A token without a name: its holders are not distinguished. */
export const SECRET_ENTRY = new RegExp(`^${SECRET}$`);

export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** @param entry matches TOKEN_ENTRY */
export function parseToken(entry: string): Token {
  const colon = entry.indexOf(':');
  return { name: entry.slice(0, colon), sha256: hashToken(entry.slice(colon + 1)) };
}

/** Compares all tokens in constant time, so that the duration reveals nothing. */
export function findToken<Kept extends Pick<Token, 'sha256'>>(
  tokens: readonly Kept[],
  token: string,
): Kept | undefined {
  const sha256 = hashToken(token);
  return tokens.filter((kept) => timingSafeEqual(kept.sha256, sha256))[0];
}

/**
 * Returns the token of `Authorization: Bearer <token>`; undefined for any other value.
 * @param authorization value of the header
 */
export function bearerOf(authorization: string | undefined): string | undefined {
  return /^bearer +([\x21-\x7e]+)$/i.exec(authorization ?? '')?.[1];
}
