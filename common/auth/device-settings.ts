/** Settings of edge and router for the authentication of devices. */
import { z } from 'zod';
import { integer, listOf } from '../process/config.js';
import type { JwtPolicy } from './jwt.js';
import { ALGORITHMS, type Algorithm } from './keys.js';

export const deviceAuthSettings = {
  LONGLINE_JWT_ALGORITHMS: listOf(
    z.enum(ALGORITHMS, { error: `expected some of ${ALGORITHMS.join(', ')}` }),
  )
    .optional()
    .describe(
      'Accepted signature algorithms, separated by commas: HS256, RS256, ES256, EdDSA. A token ' +
        'with another algorithm is rejected, whichever keys are configured. Required with ' +
        'LONGLINE_AUTH=jwt.',
    ),
  LONGLINE_JWT_KEYS: z
    .string()
    .optional()
    .describe(
      'Verification keys: PEM of public keys or certificates, a JWK, a JWKS or, for HS256, the ' +
        'secret itself (at least 32 bytes). Exactly one of LONGLINE_JWT_KEYS, ' +
        'LONGLINE_JWT_KEYS_FILE and LONGLINE_JWT_JWKS_URL is set.',
    ),
  LONGLINE_JWT_KEYS_FILE: z
    .string()
    .optional()
    .describe(
      'File with verification keys, in the formats of LONGLINE_JWT_KEYS. A changed file is read ' +
        'within 2 s; if it cannot be used, an error is logged and the old keys stay in use.',
    ),
  LONGLINE_JWT_JWKS_URL: z
    .string()
    .refine(isSecureUrl, 'expected an https:// URL; http:// only on the loopback address')
    .optional()
    .describe(
      'URL of a JWKS: `https://`, or `http://` on the loopback address. Not for HS256. It is ' +
        'fetched at start, at every refresh interval and, at most every 30 s, for a token with ' +
        'an unknown key id. A response may take 5 s and have 256 KiB; redirects are not ' +
        'followed. While fetches fail, the last keys stay in use for 24 hours.',
    ),
  LONGLINE_JWT_JWKS_REFRESH_MS: integer(1_000, 86_400_000)
    .default(300_000)
    .describe(
      'Milliseconds between fetches of LONGLINE_JWT_JWKS_URL, which is how long a withdrawn key ' +
        'is still accepted. Too low loads the key server.',
    ),
  LONGLINE_JWT_AUDIENCE: listOf(z.string().min(1))
    .default([])
    .describe(
      'Accepted audiences, separated by commas: `aud` of a token must contain one of them. ' +
        'Unset: a token with an `aud` is meant for another service and is rejected.',
    ),
  LONGLINE_JWT_ISSUER: listOf(z.string().min(1))
    .default([])
    .describe(
      'Accepted issuers, separated by commas: `iss` of a token must be one of them. Unset: any.',
    ),
  LONGLINE_JWT_SKEW_MS: integer(0, 300_000)
    .default(30_000)
    .describe(
      'Tolerated clock difference in milliseconds: tokens are accepted that much before `nbf` ' +
        'and after `exp`, and connections end that much after their token expires. Too low ' +
        'rejects fresh tokens of an issuer whose clock is ahead; too high accepts expired ones.',
    ),
  LONGLINE_JWT_LABELS_CLAIM: z
    .string()
    .min(1)
    .default('labels')
    .describe(
      'Name of the claim with the labels of the device, which broadcasts can select by: an object ' +
        'of strings, or a string such as `app=ios version=5.2`. A device with an invalid label is ' +
        'rejected with LABELS_INVALID.',
    ),
  LONGLINE_JWT_GROUPS_CLAIM: z
    .string()
    .min(1)
    .default('groups')
    .describe(
      'Name of the claim with the groups that the device may join and leave by itself: a list of ' +
        'names, such as `["room-7", "team-*"]`, where a `*` at the end stands for any rest. Without ' +
        'it, none. A device with an invalid claim is rejected with GROUP_INVALID.',
    ),
  LONGLINE_TICKET_SECRET: listOf(
    z.string().regex(/^[\x21-\x7e]{32,}$/, 'expected at least 32 printable characters, or several'),
  )
    .optional()
    .describe(
      'Secret that signs resume tickets: at least 32 printable characters without commas. Of ' +
        'several, separated by commas, the first signs and all verify. To replace it, append the ' +
        'new secret on all edges and routers, then put it first, then remove the old one. ' +
        'Required with LONGLINE_AUTH=jwt.',
    ),
};

export type KeysFrom =
  | { readonly type: 'inline'; readonly text: string }
  | { readonly type: 'file'; readonly path: string }
  | { readonly type: 'url'; readonly url: string; readonly refreshMs: number };

export interface JwtConfig {
  readonly algorithms: readonly Algorithm[];
  readonly keys: KeysFrom;
  readonly policy: JwtPolicy;
  /** Never empty. */
  readonly ticketSecrets: readonly string[];
}

type Parsed = z.infer<z.ZodObject<typeof deviceAuthSettings>> & {
  readonly LONGLINE_AUTH: 'none' | 'jwt';
};

/**
 * Returns undefined when devices are not authenticated.
 * @param problems receives the combinations of settings that are invalid
 */
export function deviceAuth(parsed: Parsed, problems: string[]): JwtConfig | undefined {
  const keys = keysFrom(parsed);
  if (parsed.LONGLINE_AUTH === 'none') {
    // An operator who sets keys expects that tokens are verified.
    for (const { name } of keys) {
      problems.push(`${name}: has no effect with LONGLINE_AUTH=none; remove it, or set jwt`);
    }
    return undefined;
  }
  const algorithms = parsed.LONGLINE_JWT_ALGORITHMS ?? [];
  const ticketSecrets = parsed.LONGLINE_TICKET_SECRET ?? [];
  if (algorithms.length === 0) problems.push(`LONGLINE_JWT_ALGORITHMS: ${REQUIRED}`);
  if (ticketSecrets.length === 0) problems.push(`LONGLINE_TICKET_SECRET: ${REQUIRED}`);
  const [source, second] = keys;
  if (source === undefined || second !== undefined) {
    const which = 'LONGLINE_JWT_KEYS, LONGLINE_JWT_KEYS_FILE and LONGLINE_JWT_JWKS_URL';
    problems.push(`${second?.name ?? 'LONGLINE_JWT_KEYS'}: exactly one of ${which} must be set`);
    return undefined;
  }
  if (source.from.type === 'url' && algorithms.includes('HS256')) {
    problems.push('LONGLINE_JWT_ALGORITHMS: HS256 needs a secret, which a JWKS URL cannot provide');
  }
  const policy = {
    audiences: parsed.LONGLINE_JWT_AUDIENCE,
    issuers: parsed.LONGLINE_JWT_ISSUER,
    skewMs: parsed.LONGLINE_JWT_SKEW_MS,
    labelsClaim: parsed.LONGLINE_JWT_LABELS_CLAIM,
    groupsClaim: parsed.LONGLINE_JWT_GROUPS_CLAIM,
  };
  return { algorithms, keys: source.from, policy, ticketSecrets };
}

const REQUIRED = 'required with LONGLINE_AUTH=jwt';

function keysFrom(parsed: Parsed): { name: string; from: KeysFrom }[] {
  const {
    LONGLINE_JWT_KEYS: text,
    LONGLINE_JWT_KEYS_FILE: path,
    LONGLINE_JWT_JWKS_URL: url,
    LONGLINE_JWT_JWKS_REFRESH_MS: refreshMs,
  } = parsed;
  const found: { name: string; from: KeysFrom }[] = [];
  if (text) found.push({ name: 'LONGLINE_JWT_KEYS', from: { type: 'inline', text } });
  if (path) found.push({ name: 'LONGLINE_JWT_KEYS_FILE', from: { type: 'file', path } });
  if (url) found.push({ name: 'LONGLINE_JWT_JWKS_URL', from: { type: 'url', url, refreshMs } });
  return found;
}

function isSecureUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  const isLoopback = ['localhost', '127.0.0.1', '[::1]'].includes(hostname);
  return protocol === 'https:' || (protocol === 'http:' && isLoopback);
}
