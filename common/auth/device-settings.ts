/** How devices are authenticated: the settings of edge and router. */
import { z } from 'zod';
import { integer, listOf } from '../process/config.js';
import type { JwtPolicy } from './jwt.js';
import { ALGORITHMS, type Algorithm } from './keys.js';

export const deviceAuthSettings = {
  /** Whatever a token says of itself, only these count. */
  LONGLINE_JWT_ALGORITHMS: listOf(
    z.enum(ALGORITHMS, { error: `expected some of ${ALGORITHMS.join(', ')}` }),
  ).optional(),
  /** Where keys come from: one of these three, no more and no less. */
  LONGLINE_JWT_KEYS: z.string().optional(),
  LONGLINE_JWT_KEYS_FILE: z.string().optional(),
  LONGLINE_JWT_JWKS_URL: z
    .string()
    .refine(isTrustworthyUrl, 'expected an https:// URL; http:// only on the loopback address')
    .optional(),
  LONGLINE_JWT_JWKS_REFRESH_MS: integer(1_000, 86_400_000).default(300_000),
  LONGLINE_JWT_AUDIENCE: listOf(z.string().min(1)).default([]),
  LONGLINE_JWT_ISSUER: listOf(z.string().min(1)).default([]),
  LONGLINE_JWT_SKEW_MS: integer(0, 300_000).default(30_000),
  /** Signs resume tickets: the first signs, all verify. */
  LONGLINE_TICKET_SECRET: listOf(
    z.string().regex(/^[\x21-\x7e]{32,}$/, 'expected at least 32 printable characters, or several'),
  ).optional(),
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
 * Undefined: devices are believed.
 * @param problems gets what does not fit together
 */
export function deviceAuth(parsed: Parsed, problems: string[]): JwtConfig | undefined {
  const keys = keysFrom(parsed);
  if (parsed.LONGLINE_AUTH === 'none') {
    // Whoever sets keys believes that tokens are checked.
    for (const { name } of keys) problems.push(`${name}: not looked at with LONGLINE_AUTH=none`);
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
    problems.push('LONGLINE_JWT_ALGORITHMS: HS256 has a secret, and a URL gives none away');
  }
  const policy = {
    audiences: parsed.LONGLINE_JWT_AUDIENCE,
    issuers: parsed.LONGLINE_JWT_ISSUER,
    skewMs: parsed.LONGLINE_JWT_SKEW_MS,
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

function isTrustworthyUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  const isLoopback = ['localhost', '127.0.0.1', '[::1]'].includes(hostname);
  return protocol === 'https:' || (protocol === 'http:' && isLoopback);
}
