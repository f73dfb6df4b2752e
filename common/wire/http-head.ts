/**
 * Strict parser for the head of an HTTP/1.x request (RFC 9112). Input that two parsers could read
 * differently is rejected, which prevents request smuggling past a proxy. Bodies are not supported.
 */
import { type Rejection, rejection } from '../process/errors.js';
import { lowerAscii, trimBlanks } from './http-lists.js';

export interface HttpHead {
  readonly method: string;
  /** Path and query, without scheme and authority. */
  readonly target: string;
  /** The x of HTTP/1.x. */
  readonly minorVersion: number;
  /** Values by lower-case name; repeated headers are joined with commas (RFC 9110 §5.2). */
  readonly headers: ReadonlyMap<string, string>;
}

const HEADERS_MAX = 100;

/** RFC 9110 §5.6.2 */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** RFC 9110 §5.5: visible characters, obs-text, and spaces and tabs between them. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Visible characters without `#`. RFC 3986 allows fewer, but browsers do not encode all others. */
const TARGET = /^[\x21\x22\x24-\x7e]+$/;
/** RFC 9112 §3.2: `uri-host [ ":" port ]` of RFC 3986 §3.2.2; it may be empty. */
const HOST = /^(\[[\w.~!$&'()*+,;=:-]+\]|[\w.~!$&'()*+,;=%-]*)(:\d*)?$/;
const VERSION = /^HTTP\/(\d)\.(\d)$/;
const ABSOLUTE_FORM = /^https?:\/\/[^/?#]+/i;
/** Headers that must not be repeated: parsers disagree on which occurrence applies. */
const SINGLE = new Set(['host', 'content-length', 'origin', 'last-event-id', 'authorization']);

const BODILESS = new Set(['GET', 'HEAD', 'OPTIONS']);
const DIGITS = /^\d+$/;

const END = Buffer.from('\r\n\r\n');
/** Always invalid; detected so that it is rejected at once instead of by the timeout. */
const BARE_END = Buffer.from('\n\n');

/**
 * Reads the head at the start of `bytes`.
 * @param searched number of bytes that an earlier call has searched
 * @param headBytesMax maximum size of the head, including its empty line
 * @returns 'more' while the head is incomplete
 */
export function readHead(
  bytes: Buffer,
  searched: number,
  headBytesMax: number,
): { readonly head: HttpHead; readonly byteLength: number } | Rejection | 'more' {
  const byteLength = findHeadEnd(bytes, searched);
  if (byteLength > headBytesMax || (byteLength < 0 && bytes.length > headBytesMax)) {
    // RFC 9112 §3: a target that is too long has its own status.
    const isTarget = bytes.subarray(2, headBytesMax).indexOf('\r\n') < 0;
    return rejection(
      isTarget ? 'TARGET_TOO_LONG' : 'HEAD_TOO_LARGE',
      `the request ${isTarget ? 'line' : 'head'} is over ${headBytesMax} bytes`,
    );
  }
  if (byteLength < 0) return 'more';
  const head = parseHead(bytes.subarray(0, byteLength));
  return 'code' in head ? head : { head, byteLength };
}

/**
 * Returns the index after the empty line that ends the head, or -1 while it is missing.
 * @param searched number of bytes that an earlier call has searched
 */
export function findHeadEnd(bytes: Buffer, searched: number): number {
  const from = Math.max(0, searched - (END.length - 1));
  const at = bytes.indexOf(END, from);
  const bareAt = bytes.indexOf(BARE_END, from);
  // The first of both, so that the result does not depend on the bytes that follow.
  if (bareAt >= 0 && (at < 0 || bareAt < at)) return bareAt + BARE_END.length;
  return at < 0 ? -1 : at + END.length;
}

/** False for bytes that cannot start an HTTP request, such as TLS or SSH. */
export function couldBeHttp(bytes: Buffer): boolean {
  const [first, second] = bytes;
  if (first === 0x0d) return true;
  // The second byte distinguishes a method from MQTT's PUBREC, which starts with a P.
  return first! >= 0x41 && first! <= 0x5a && (second === undefined || second > 0x20);
}

/** @param bytes a complete head, including its empty line */
export function parseHead(bytes: Buffer): HttpHead | Rejection {
  if (!bytes.subarray(-END.length).equals(END)) return malformed('a line does not end with CR LF');
  // One empty line before the request is ignored (RFC 9112 §2.2).
  const start = bytes[0] === 0x0d && bytes[1] === 0x0a ? 2 : 0;
  const lines = bytes.toString('latin1', start, bytes.length - END.length).split('\r\n');
  const request = lines[0]!.split(' ');
  const [method, rawTarget, version] = request;
  if (request.length !== 3 || !TOKEN.test(method!) || !TARGET.test(rawTarget!)) {
    return malformed('the request line is not "METHOD target HTTP/1.1"');
  }
  const digits = VERSION.exec(version!);
  if (digits === null) return malformed('the request line does not end with an HTTP version');
  if (digits[1] !== '1')
    return rejection('HTTP_VERSION_UNSUPPORTED', `${version} is not supported; use HTTP/1.1`);

  const headers = new Map<string, string>();
  if (lines.length - 1 > HEADERS_MAX) {
    return rejection(
      'HEAD_TOO_LARGE',
      `the request has ${lines.length - 1} header lines; the maximum is ${HEADERS_MAX}`,
    );
  }
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i]!;
    const colon = line.indexOf(':');
    const name = lowerAscii(line.slice(0, Math.max(0, colon)));
    // Also rejects folded lines (§5.2) and whitespace before the colon (§5.1), as required.
    if (!TOKEN.test(name)) return malformed(`the name of header line ${i} is invalid`);
    const value = trimBlanks(line.slice(colon + 1));
    // Also rejects bare CR, bare LF (§2.2) and NUL.
    if (!FIELD_VALUE.test(value))
      return malformed(`the value of ${name} contains a control character`);
    const earlier = headers.get(name);
    if (earlier !== undefined && SINGLE.has(name)) return malformed(`${name} occurs twice`);
    headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`);
  }
  // RFC 9112 §3.2
  const host = headers.get('host');
  const minorVersion = Number(digits[2]);
  if (host === undefined && minorVersion > 0) return malformed('the Host header is missing');
  if (host !== undefined && !HOST.test(host)) return malformed('the Host header is invalid');
  const framing = bodyFault(method!, minorVersion, headers);
  if (framing !== undefined) return malformed(framing);
  const target = rawTarget!.replace(ABSOLUTE_FORM, '') || '/';
  return { method: method!, target, minorVersion, headers };
}

/**
 * Returns a problem with the body length, or undefined if it is unambiguous (RFC 9112 §6). The body
 * is never read; requests with a supported method have none.
 */
function bodyFault(
  method: string,
  minorVersion: number,
  headers: HttpHead['headers'],
): string | undefined {
  const coding = headers.get('transfer-encoding');
  const length = headers.get('content-length');
  if (coding === undefined && (length === undefined || length === '0')) return undefined;
  if (BODILESS.has(method)) return `a ${method} request must not have a body`;
  if (coding === undefined)
    return DIGITS.test(length!) ? undefined : 'content-length is not a number';
  if (minorVersion === 0) return 'transfer-encoding requires HTTP/1.1';
  if (length !== undefined) return 'both transfer-encoding and content-length are present';
  return lowerAscii(coding) === 'chunked' ? undefined : 'transfer-encoding must be chunked';
}

function malformed(message: string): Rejection {
  return rejection('REQUEST_MALFORMED', message);
}
