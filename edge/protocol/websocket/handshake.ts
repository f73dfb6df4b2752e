/**
 * The opening handshake of a WebSocket, the server's side (RFC 6455 §4.2): from a request head to the
 * head of the answer, or to what is wrong with it. No extension is accepted: permessage-deflate would
 * cost every connection a window, and lets a few bytes become many.
 */
import { hash } from 'node:crypto';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { HttpHead } from '../../../common/wire/http-head.js';
import { headerLines, statusLine } from '../../../common/wire/http-response.js';

/**
 * What a device may ask for by name. `longline.raw` is what it gets without a name as well: a browser
 * that names something, such as its token, fails the connection when nothing of it is chosen.
 */
const SUBPROTOCOLS = ['longline.json', 'longline.raw'] as const;

export type Subprotocol = (typeof SUBPROTOCOLS)[number];

/** What follows is no subprotocol but a credential, for browsers, which cannot set a header. */
const TOKEN_PREFIX = 'longline.token.';

/** RFC 6455 §1.3 */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** §4.2.1, number 5: 16 bytes as base64. */
const KEY = /^[+/0-9A-Za-z]{22}==$/;
/** RFC 9110 §5.6.2 */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

export interface Handshake {
  readonly subprotocol: Subprotocol | undefined;
  /** As the device offered it; undefined: none. */
  readonly token: string | undefined;
  /** The answer's head, complete: frames follow it. */
  readonly response: Buffer;
}

/** Whether a request wants to become a WebSocket. Other things in Upgrade are ignored (RFC 9110 §7.8). */
export function isWebSocketUpgrade({ headers }: HttpHead): boolean {
  return tokensOf(headers.get('upgrade')).includes('websocket');
}

/** @param head of a GET that `isWebSocketUpgrade` */
export function readHandshake(head: HttpHead): Handshake | Rejection {
  const { headers } = head;
  if (head.minorVersion < 1) return malformed('a WebSocket takes HTTP/1.1');
  if (!tokensOf(headers.get('connection')).includes('upgrade')) {
    return malformed('Connection does not have upgrade, which a proxy on the way may have taken');
  }
  if (headers.get('sec-websocket-version') !== '13') {
    return rejection('WEBSOCKET_VERSION_UNSUPPORTED', 'Sec-WebSocket-Version is not 13');
  }
  const key = headers.get('sec-websocket-key');
  if (key === undefined || !KEY.test(key)) {
    return malformed('Sec-WebSocket-Key is not one of 16 bytes as base64');
  }
  const offered = readOffered(headers.get('sec-websocket-protocol'));
  if (offered === undefined) {
    return malformed('Sec-WebSocket-Protocol is not a list of different names');
  }
  // The device has put them into the order that it prefers (§4.1, number 10).
  const subprotocol = offered.find((name): name is Subprotocol =>
    SUBPROTOCOLS.includes(name as Subprotocol),
  );
  const token = offered.find((name) => name.startsWith(TOKEN_PREFIX))?.slice(TOKEN_PREFIX.length);
  return { subprotocol, token, response: accepting(key, subprotocol) };
}

/**
 * Whether a page of this origin may connect. Nobody else asks this question: browsers apply no CORS
 * to a WebSocket, and send cookies and what else they have (§10.2). A page of the host that it
 * connects to may; so may what is no page and names no origin.
 * @param allowed as `LONGLINE_CORS_ORIGINS` says
 */
export function isOriginAllowed(
  allowed: readonly string[] | undefined,
  { headers }: HttpHead,
): boolean {
  const origin = headers.get('origin');
  if (origin === undefined) return true;
  if (allowed?.includes('*') || allowed?.includes(origin)) return true;
  // Whether the page came over TLS is not known here.
  return (
    /^https?:\/\/(.+)$/i.exec(origin)?.[1]?.toLowerCase() === headers.get('host')?.toLowerCase()
  );
}

function accepting(key: string, subprotocol: Subprotocol | undefined): Buffer {
  const accept = hash('sha1', `${key}${ACCEPT_GUID}`, 'base64');
  const headers: [string, string][] = [
    ['Upgrade', 'websocket'],
    ['Connection', 'Upgrade'],
    ['Sec-WebSocket-Accept', accept],
  ];
  if (subprotocol !== undefined) headers.push(['Sec-WebSocket-Protocol', subprotocol]);
  return Buffer.from(`${statusLine(101)}${headerLines(headers)}\r\n`);
}

/** Undefined: what is there is not allowed. */
function readOffered(value: string | undefined): string[] | undefined {
  if (value === undefined) return [];
  const names = value.split(',').map((name) => name.trim());
  const isValid = names.every((name) => TOKEN.test(name)) && new Set(names).size === names.length;
  return isValid ? names : undefined;
}

/** Of a list of names without regard to case. */
function tokensOf(value: string | undefined): string[] {
  return value === undefined ? [] : value.split(',').map((token) => token.trim().toLowerCase());
}

function malformed(why: string): Rejection {
  return rejection('REQUEST_MALFORMED', why);
}
