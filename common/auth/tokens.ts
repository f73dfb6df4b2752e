/**
 * Lists of bearer tokens: who may push, who may look, who may steer. A token is kept as its hash, so
 * that what is not there can neither be logged nor shown.
 */
import { createHash, timingSafeEqual } from 'node:crypto';

export interface Token {
  /** Whose it is, for logs. Two tokens may have one name, so that one can replace the other. */
  readonly name: string;
  readonly sha256: Buffer;
}

const NAME = '[A-Za-z0-9._-]{1,128}';
/** What HTTP admits as a token (RFC 6750 §2.1), and too long to be guessed. */
const SECRET = '[A-Za-z0-9._~+/-]{16,}=*';

/** `name:token` */
export const TOKEN_ENTRY = new RegExp(`^${NAME}:${SECRET}$`);
/** `name:scope+scope:token` */
export const SCOPED_TOKEN_ENTRY = new RegExp(`^${NAME}:[a-z+]+:${SECRET}$`);
/** A token that has no name, as all who have it are one. */
export const SECRET_ENTRY = new RegExp(`^${SECRET}$`);

export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** The entries of a list that is separated by commas. */
export function entriesOf(text: string): string[] {
  return text.split(',').map((entry) => entry.trim());
}

/** @param entry that matches TOKEN_ENTRY */
export function toToken(entry: string): Token {
  const colon = entry.indexOf(':');
  return { name: entry.slice(0, colon), sha256: hashToken(entry.slice(colon + 1)) };
}

/** Compares all in constant time, so that how long it takes tells nothing. */
export function findToken<Kept extends Pick<Token, 'sha256'>>(
  tokens: readonly Kept[],
  shown: string,
): Kept | undefined {
  const sha256 = hashToken(shown);
  return tokens.filter((token) => timingSafeEqual(token.sha256, sha256))[0];
}

/**
 * The token of `Authorization: Bearer <token>`; undefined when the header is not that.
 * @param authorization the value of the header
 */
export function bearerOf(authorization: string | undefined): string | undefined {
  return /^bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
}
