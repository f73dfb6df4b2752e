/**
 * CORS (Fetch standard): origins whose pages may read responses. Credentials such as cookies are
 * never allowed, so `*` is safe; an Origin is echoed only when it is allowed.
 */
import type { AllowedOrigins } from '../net/origin.js';
import { listElements } from './http-lists.js';

type Header = [name: string, value: string];

/** Headers besides the safelisted ones that a page may read; error codes are in bodies. */
const EXPOSED: Header = ['Access-Control-Expose-Headers', 'Retry-After, WWW-Authenticate'];

/**
 * Headers that browsers and tracing libraries add to requests, for a preflight that asks for none.
 */
const REQUEST_HEADERS =
  'Accept, Authorization, Baggage, Cache-Control, Content-Type, Last-Event-ID, Sentry-Trace, ' +
  'Traceparent, Tracestate, X-Requested-With';
/** Bound on the header names that a preflight asks for; more are not echoed. */
const ASKED_LENGTH_MAX = 1_024;
/** RFC 9110 §5.6.2 */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const VISIBLE_ASCII = /^[\x21-\x7e]+$/;
/** An Origin header in bytes that are no valid request. */
const ORIGIN_LINE = /\r?\norigin:[\t ]*([\x21-\x7e]+)[\t ]*\r?\n/i;
const SEARCHED_BYTES_MAX = 64 * 1024;

/** Returns the headers of a response to a request with this Origin header. */
export function corsHeaders(allowed: AllowedOrigins, origin: string | undefined): Header[] {
  if (allowed.isNone) return [];
  if (allowed.isAny) return [['Access-Control-Allow-Origin', '*'], EXPOSED];
  const vary: Header = ['Vary', 'Origin'];
  if (origin === undefined || !VISIBLE_ASCII.test(origin) || !allowed.allows(origin)) return [vary];
  return [['Access-Control-Allow-Origin', origin], EXPOSED, vary];
}

/**
 * Headers of a response to a preflight request, in addition to `corsHeaders`. The header names that
 * it asks for are all permitted: only those that `/connect` reads have an effect.
 * @param asked value of Access-Control-Request-Headers
 */
export function preflightHeaders(asked: string | undefined): Header[] {
  const names = asked === undefined || asked.length > ASKED_LENGTH_MAX ? [] : listElements(asked);
  const isEchoed = names.length > 0 && names.every((name) => TOKEN.test(name));
  return [
    ['Access-Control-Allow-Methods', 'GET'],
    ['Access-Control-Allow-Headers', isEchoed ? names.join(', ') : REQUEST_HEADERS],
    ['Access-Control-Max-Age', '7200'],
  ];
}

/** Finds the Origin of a request that cannot be parsed, so that its page can read the reason. */
export function originIn(bytes: Buffer): string | undefined {
  return ORIGIN_LINE.exec(bytes.toString('latin1', 0, SEARCHED_BYTES_MAX))?.[1];
}
