/**
 * Which pages may read our answers (Fetch standard, CORS protocol). Credentials are never allowed,
 * so `*` is safe to answer, and an Origin is only ever echoed when it is on the list.
 */
export type CorsOrigins = readonly string[] | undefined;

/** The headers to add to an answer to a request with this Origin header. */
export function corsHeaders(allowed: CorsOrigins, origin: string | undefined): [string, string][] {
  if (allowed === undefined) return [];
  if (allowed.includes('*')) return [['Access-Control-Allow-Origin', '*']];
  const vary: [string, string] = ['Vary', 'Origin'];
  if (origin === undefined || !allowed.includes(origin)) return [vary];
  return [['Access-Control-Allow-Origin', origin], vary];
}

/** What the answer to a preflight request says beside `corsHeaders`. */
export const PREFLIGHT_HEADERS: readonly [string, string][] = [
  ['Access-Control-Allow-Methods', 'GET'],
  ['Access-Control-Allow-Headers', 'Accept, Authorization, Cache-Control, Last-Event-ID'],
  ['Access-Control-Max-Age', '7200'],
];
