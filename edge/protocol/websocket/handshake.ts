/**
 * Server side of the opening handshake (RFC 6455 §4.2). No extension is accepted:
 * permessage-deflate costs every connection a compression window and allows decompression bombs.
 */
import { hash } from 'node:crypto';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { HttpHead } from '../../../common/wire/http-head.js';
import { headerLines, statusLine } from '../../../common/wire/http-response.js';

/**
 * Supported subprotocols. `longline.raw` is the default and exists as a name because a browser
 * fails the connection when the server selects none of the names that it offers, such as its token.
 */
const SUBPROTOCOLS = ['longline.json', 'longline.raw'] as const;

export type Subprotocol = (typeof SUBPROTOCOLS)[number];

/** Prefix of a token in Sec-WebSocket-Protocol, for browsers, which cannot set other headers. */
const TOKEN_PREFIX = 'longline.token.';

/** RFC 6455 §1.3 */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** 16 bytes in base64 (§4.2.1, number 5). */
const KEY = /^[+/0-9A-Za-z]{22}==$/;
/** RFC 9110 §5.6.2 */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

export interface WebSocketHandshake {
  readonly subprotocol: Subprotocol | undefined;
  /** Token among the offered subprotocols, if any. */
  readonly token: string | undefined;
  /** Complete response head; frames follow it. */
  readonly response: Buffer;
}

/** Whether Upgrade contains `websocket`; other values are ignored (RFC 9110 §7.8). */
export function isWebSocketUpgrade({ headers }: HttpHead): boolean {
  return tokensOf(headers.get('upgrade')).includes('websocket');
}

/** @param head GET for which `isWebSocketUpgrade` is true */
export function readHandshake(head: HttpHead): WebSocketHandshake | Rejection {
  const { headers } = head;
  if (head.minorVersion < 1) return malformed('a WebSocket needs HTTP/1.1');
  if (!tokensOf(headers.get('connection')).includes('upgrade')) {
    return malformed('Connection lacks `upgrade`; a proxy on the path may have removed it');
  }
  if (headers.get('sec-websocket-version') !== '13') {
    return rejection('WEBSOCKET_VERSION_UNSUPPORTED', 'Sec-WebSocket-Version must be 13');
  }
  const key = headers.get('sec-websocket-key');
  if (key === undefined || !KEY.test(key)) {
    return malformed('Sec-WebSocket-Key must be 16 bytes in base64');
  }
  const offered = readOffered(headers.get('sec-websocket-protocol'));
  if (offered === undefined) {
    return malformed('Sec-WebSocket-Protocol must be a list of distinct names');
  }
  // In the order of the device's preference (§4.1, number 10).
  const subprotocol = offered.find((name): name is Subprotocol =>
    SUBPROTOCOLS.includes(name as Subprotocol),
  );
  const token = offered.find((name) => name.startsWith(TOKEN_PREFIX))?.slice(TOKEN_PREFIX.length);
  return { subprotocol, token, response: responseHead(key, subprotocol) };
}

/**
 * Whether a page of this origin may connect. The server must check: browsers do not apply CORS to
 * WebSockets and send cookies along (§10.2). Requests without an origin, which are not from pages,
 * and pages of the requested host are always allowed.
 * @param allowed value of `LONGLINE_CORS_ORIGINS`
 */
export function isOriginAllowed(
  allowed: readonly string[] | undefined,
  { headers }: HttpHead,
): boolean {
  const origin = headers.get('origin');
  if (origin === undefined) return true;
  if (allowed?.includes('*') || allowed?.includes(origin)) return true;
  // The scheme is not compared: whether a proxy terminated TLS is unknown here.
  return (
    /^https?:\/\/(.+)$/i.exec(origin)?.[1]?.toLowerCase() === headers.get('host')?.toLowerCase()
  );
}

function responseHead(key: string, subprotocol: Subprotocol | undefined): Buffer {
  const accept = hash('sha1', `${key}${ACCEPT_GUID}`, 'base64');
  const headers: [string, string][] = [
    ['Upgrade', 'websocket'],
    ['Connection', 'Upgrade'],
    ['Sec-WebSocket-Accept', accept],
  ];
  if (subprotocol !== undefined) headers.push(['Sec-WebSocket-Protocol', subprotocol]);
  return Buffer.from(`${statusLine(101)}${headerLines(headers)}\r\n`);
}

/** Returns undefined for an invalid list. */
function readOffered(value: string | undefined): string[] | undefined {
  if (value === undefined) return [];
  const names = value.split(',').map((name) => name.trim());
  const isValid = names.every((name) => TOKEN.test(name)) && new Set(names).size === names.length;
  return isValid ? names : undefined;
}

/** Elements of a comma-separated list, in lower case. */
function tokensOf(value: string | undefined): string[] {
  return value === undefined ? [] : value.split(',').map((token) => token.trim().toLowerCase());
}

function malformed(message: string): Rejection {
  return rejection('REQUEST_MALFORMED', message);
}
