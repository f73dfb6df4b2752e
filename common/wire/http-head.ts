/**
 * The head of an HTTP/1.x request, parsed strictly (RFC 9112): whatever two parsers could read
 * differently is rejected, so that nothing can be smuggled past a proxy in front of us. Only
 * requests without a body exist here.
 */
import { type Rejection, rejection } from '../process/errors.js';

export interface HttpHead {
  readonly method: string;
  /** Path and query, without scheme and authority. */
  readonly target: string;
  /** Of HTTP/1. */
  readonly minorVersion: number;
  /** By lower-case name; the values of a repeated name are joined by commas (RFC 9110 §5.2). */
  readonly headers: ReadonlyMap<string, string>;
}

const HEADERS_MAX = 100;

/** RFC 9110 §5.6.2 */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** RFC 9110 §5.5: visible characters, obs-text, and blanks between them. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Visible characters. RFC 3986 has fewer of them, of which browsers send some as they are. */
const TARGET = /^[\x21\x22\x24-\x7e]+$/;
/** RFC 9112 §3.2: `uri-host [ ":" port ]` of RFC 3986 §3.2.2; it may be empty. */
const HOST = /^(\[[\w.~!$&'()*+,;=:-]+\]|[\w.~!$&'()*+,;=%-]*)(:\d*)?$/;
const VERSION = /^HTTP\/(\d)\.(\d)$/;
const ABSOLUTE_FORM = /^https?:\/\/[^/?#]+/i;
/** Headers that must not come twice: parsers disagree about which one counts. */
const SINGLE = new Set(['host', 'content-length', 'origin', 'last-event-id', 'authorization']);

const BODILESS = new Set(['GET', 'HEAD', 'OPTIONS']);
const DIGITS = /^\d+$/;

const END = Buffer.from('\r\n\r\n');
/** Never right: found, so that whoever sends it is told at once and not when the time is over. */
const BARE_END = Buffer.from('\n\n');

/**
 * Reads the head that `bytes` begin with.
 * @param searched how many of them an earlier call has seen
 * @param headBytesMax of the head, empty line included
 * @returns 'more' while the head is not complete
 */
export function readHead(
  bytes: Buffer,
  searched: number,
  headBytesMax: number,
): { readonly head: HttpHead; readonly byteLength: number } | Rejection | 'more' {
  const byteLength = findHeadEnd(bytes, searched);
  if (byteLength > headBytesMax || (byteLength < 0 && bytes.length > headBytesMax)) {
    // RFC 9112 §3: too long a target has a status of its own.
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
 * Where the head ends: the index behind its empty line, or -1 while that is missing.
 * @param searched how many bytes an earlier call has seen
 */
export function findHeadEnd(bytes: Buffer, searched: number): number {
  const from = Math.max(0, searched - (END.length - 1));
  const at = bytes.indexOf(END, from);
  const bareAt = bytes.indexOf(BARE_END, from);
  // The first of them, so that it does not matter how much has come behind it.
  if (bareAt >= 0 && (at < 0 || bareAt < at)) return bareAt + BARE_END.length;
  return at < 0 ? -1 : at + END.length;
}

/** False for bytes that cannot begin an HTTP request: TLS, SSH, another protocol, noise. */
export function couldBeHttp(bytes: Buffer): boolean {
  const [first, second] = bytes;
  if (first === 0x0d) return true;
  // Two bytes tell a method from MQTT's PUBREC, which begins with a P.
  return first! >= 0x41 && first! <= 0x5a && (second === undefined || second > 0x20);
}

/** Parses a head that `findHeadEnd` found, empty line included. */
export function parseHead(bytes: Buffer): HttpHead | Rejection {
  if (!bytes.subarray(-END.length).equals(END)) return malformed('lines end with CR LF');
  // One empty line before the request is forgiven (RFC 9112 §2.2).
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
    return rejection('HTTP_VERSION_UNSUPPORTED', `expected HTTP/1.1, not ${version}`);

  const headers = new Map<string, string>();
  if (lines.length - 1 > HEADERS_MAX) {
    return rejection('HEAD_TOO_LARGE', `more than ${HEADERS_MAX} header lines`);
  }
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i]!;
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon)).toLowerCase();
    // Covers folded lines (§5.2) and blanks before the colon (§5.1), which must be rejected.
    if (!TOKEN.test(name)) return malformed(`header line ${i} has no valid name`);
    const value = line.slice(colon + 1).trim();
    // Covers bare CR and bare LF (§2.2), and NUL.
    if (!FIELD_VALUE.test(value)) return malformed(`the value of ${name} has control characters`);
    const earlier = headers.get(name);
    if (earlier !== undefined && SINGLE.has(name)) return malformed(`${name} is given twice`);
    headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`);
  }
  // RFC 9112 §3.2
  const host = headers.get('host');
  const minorVersion = Number(digits[2]);
  if (host === undefined && minorVersion > 0) return malformed('host is missing');
  if (host !== undefined && !HOST.test(host)) return malformed('host is no host');
  const framing = bodyFault(method!, minorVersion, headers);
  if (framing !== undefined) return malformed(framing);
  const target = rawTarget!.replace(ABSOLUTE_FORM, '') || '/';
  return { method: method!, target, minorVersion, headers };
}

/**
 * RFC 9112 §6: whether it is beyond doubt where the body ends, which is not read in any case. There
 * is none with the methods that are known here.
 */
function bodyFault(
  method: string,
  minorVersion: number,
  headers: HttpHead['headers'],
): string | undefined {
  const coding = headers.get('transfer-encoding');
  const length = headers.get('content-length');
  if (coding === undefined && (length === undefined || length === '0')) return undefined;
  if (BODILESS.has(method)) return 'a request here has no body';
  if (coding === undefined) return DIGITS.test(length!) ? undefined : 'content-length is no number';
  if (minorVersion === 0) return 'HTTP/1.0 has no transfer-encoding';
  if (length !== undefined) return 'there are a transfer-encoding and a content-length';
  return coding.toLowerCase() === 'chunked' ? undefined : 'the transfer-encoding is not chunked';
}

function malformed(why: string): Rejection {
  return rejection('REQUEST_MALFORMED', why);
}
