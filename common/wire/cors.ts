/**
 * CORS (Fetch standard): origins whose pages may read responses. Credentials are never allowed, so
 * `*` is safe; an Origin is echoed only when it is listed. Undefined: CORS is off.
 */
export type CorsOrigins = readonly string[] | undefined;

/** Returns the headers of a response to a request with this Origin header. */
export function corsHeaders(allowed: CorsOrigins, origin: string | undefined): [string, string][] {
  if (allowed === undefined) return [];
  if (allowed.includes('*')) return [['Access-Control-Allow-Origin', '*']];
  const vary: [string, string] = ['Vary', 'Origin'];
  if (origin === undefined || !allowed.includes(origin)) return [vary];
  return [['Access-Control-Allow-Origin', origin], vary];
}

/** Headers of a response to a preflight request, in addition to `corsHeaders`. */
export const PREFLIGHT_HEADERS: readonly [string, string][] = [
  ['Access-Control-Allow-Methods', 'GET'],
  ['Access-Control-Allow-Headers', 'Accept, Authorization, Cache-Control, Last-Event-ID'],
  ['Access-Control-Max-Age', '7200'],
];
