/** Router settings for the credentials and scopes of backends. */
import { z } from 'zod';
import { type GrpcTlsFiles, grpcTls } from '../../common/auth/peer-settings.js';
import { hashToken, SCOPED_TOKEN_ENTRY, type Token } from '../../common/auth/tokens.js';
import { listOf } from '../../common/process/config.js';

export const SCOPES = ['push', 'presence', 'disconnect', 'groups', 'events'] as const;
export type Scope = (typeof SCOPES)[number];

export interface BackendToken extends Token {
  readonly scopes: ReadonlySet<Scope>;
}

export interface BackendCertificate {
  /** Common name, DNS name or URI of the certificate. */
  readonly name: string;
  readonly scopes: ReadonlySet<Scope>;
}

const EXPECTED = `name:scope+scope:token with scopes ${SCOPES.join(', ')} and at least 16 characters of token`;

const tokenEntry = z
  .string()
  // The message must not repeat the entry: it is a secret.
  .refine((entry) => SCOPED_TOKEN_ENTRY.test(entry) && haveScopes(entry), `expected ${EXPECTED}`);

const certificateEntry = z
  .string()
  .refine(
    (entry) => /^[^,\s]+:[a-z+]+$/.test(entry) && haveScopes(entry, -1),
    `expected name:scope+scope with scopes ${SCOPES.join(', ')}`,
  );

export const backendSettings = {
  LONGLINE_BACKEND_TOKENS: listOf(tokenEntry)
    .default([])
    .describe(
      'Tokens of backends, as `name:scope+scope:token`, separated by commas. The scopes are `push`, ' +
        '`presence`, `disconnect`, `groups` and `events`; a token has at least 16 characters. Two tokens may have the ' +
        'same name, so that one can be replaced.',
    ),
  LONGLINE_BACKEND_TOKENS_FILE: z
    .string()
    .optional()
    .describe(
      'File with more tokens, one per line; a line that starts with `#` is a comment. It is read ' +
        'again within 2 s of a change; a file that cannot be parsed is logged, and the old tokens ' +
        'stay valid.',
    ),
  LONGLINE_BACKEND_CERTIFICATES: listOf(certificateEntry)
    .default([])
    .describe(
      'Scopes of client certificates, as `name:scope+scope`, separated by commas. The name is the ' +
        'common name, a DNS name or a URI of the certificate. Requires ' +
        '`LONGLINE_GRPC_TLS_CLIENT_CA_FILE`.',
    ),
};

export interface BackendConfig {
  readonly tokens: readonly BackendToken[];
  /** File with further tokens, one per line, read again when it changes. */
  readonly tokensFile: string | undefined;
  readonly certificates: readonly BackendCertificate[];
  readonly tls: GrpcTlsFiles | undefined;
}

type Parsed = z.infer<z.ZodObject<typeof backendSettings>> &
  Parameters<typeof grpcTls>[0] & { readonly LONGLINE_AUTH: 'none' | 'jwt' };

/** @param problems receives settings that contradict each other */
export function backendConfig(parsed: Parsed, problems: string[]): BackendConfig {
  const tokens = parsed.LONGLINE_BACKEND_TOKENS.map(toBackendToken);
  const tokensFile = parsed.LONGLINE_BACKEND_TOKENS_FILE;
  const certificates = parsed.LONGLINE_BACKEND_CERTIFICATES.map((entry) => ({
    name: entry.slice(0, entry.lastIndexOf(':')),
    scopes: scopesOf(entry.slice(entry.lastIndexOf(':') + 1)),
  }));
  if (certificates.length > 0 && parsed.LONGLINE_GRPC_TLS_CLIENT_CA_FILE === undefined) {
    problems.push('LONGLINE_BACKEND_CERTIFICATES: requires LONGLINE_GRPC_TLS_CLIENT_CA_FILE');
  }
  const hasAny = tokens.length + certificates.length > 0 || tokensFile !== undefined;
  if (parsed.LONGLINE_AUTH === 'jwt' && !hasAny) {
    problems.push(
      'LONGLINE_BACKEND_TOKENS: required with LONGLINE_AUTH=jwt, unless ' +
        'LONGLINE_BACKEND_TOKENS_FILE or LONGLINE_BACKEND_CERTIFICATES is set',
    );
  }
  return { tokens, tokensFile, certificates, tls: grpcTls(parsed, problems) };
}

/**
 * Parses a token file: one token per line; lines that start with # are comments.
 * @throws Error with the number of the first invalid line, which it does not repeat
 */
export function readTokens(text: string): BackendToken[] {
  return text.split('\n').flatMap((line, i) => {
    const entry = line.trim();
    if (entry === '' || entry.startsWith('#')) return [];
    if (tokenEntry.safeParse(entry).success) return [toBackendToken(entry)];
    throw new Error(`line ${i + 1}: expected ${EXPECTED}`);
  });
}

/** @param entry a valid token entry */
function toBackendToken(entry: string): BackendToken {
  const [name, scopes, token] = entry.split(':') as [string, string, string];
  return { name, scopes: scopesOf(scopes), sha256: hashToken(token) };
}

function haveScopes(entry: string, at = 1): boolean {
  const scopes = entry.split(':').at(at)!.split('+');
  return scopes.every((scope) => (SCOPES as readonly string[]).includes(scope));
}

function scopesOf(text: string): ReadonlySet<Scope> {
  return new Set(text.split('+') as Scope[]);
}
