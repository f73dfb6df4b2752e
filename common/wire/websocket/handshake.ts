/**
 * Server side of the opening handshake (RFC 6455 §4.2). No extension is accepted:
 * permessage-deflate costs every connection a compression window and allows decompression bombs.
 */
import { hash } from 'node:crypto';
import { type AllowedOrigins, isSameHost } from '../../net/origin.js';
import { type Rejection, rejection } from '../../process/errors.js';
import type { HttpHead } from '../http-head.js';
import { tokensOf, trimBlanks } from '../http-lists.js';
import { headerLines, statusLine } from '../http-response.js';

/**
 * Supported subprotocols. `longline.raw` is the default and exists as a name because a browser
 * fails the connection when the server selects none of the names that it offers, such as its token.
 */
const SUBPROTOCOLS = ['longline.json', 'longline.raw', 'mqtt'] as const;
const ONLY_MQTT: readonly string[] = ['mqtt'];
/** Offered by clients of MQTT 3.1. */
const MQTT_3_1 = 'mqttv3.1';

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

/**
 * @param head GET for which `isWebSocketUpgrade` is true
 * @param isMqttPath whether the path serves only MQTT
 */
export function readHandshake(head: HttpHead, isMqttPath = false): WebSocketHandshake | Rejection {
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
  const supported: readonly string[] = isMqttPath ? ONLY_MQTT : SUBPROTOCOLS;
  const subprotocol = offered.find((name): name is Subprotocol => supported.includes(name));
  if (subprotocol === undefined && offered.includes(MQTT_3_1)) {
    const message = 'MQTT 3.1 is not supported; offer the subprotocol mqtt and use 3.1.1 or 5';
    return rejection('MQTT_VERSION_UNSUPPORTED', message);
  }
  if (subprotocol === undefined && isMqttPath) {
    return malformed('Sec-WebSocket-Protocol must offer mqtt [MQTT-6.0.0-3]');
  }
  const token = offered.find((name) => name.startsWith(TOKEN_PREFIX))?.slice(TOKEN_PREFIX.length);
  return { subprotocol, token, response: responseHead(key, subprotocol) };
}

/**
 * Whether a page of this origin may connect. The server must check: browsers do not apply CORS to
 * WebSockets and send cookies along (§10.2). Requests without an origin, which are not from pages,
 * and pages of the requested host are always allowed.
 * @param allowed the settings `LONGLINE_CORS_ORIGINS` and `LONGLINE_APP_ORIGINS`
 */
export function isOriginAllowed(allowed: AllowedOrigins, { headers }: HttpHead): boolean {
  const origin = headers.get('origin');
  if (origin === undefined) return true;
  return allowed.allows(origin) || isSameHost(origin, headers.get('host'));
}

/**
 * Answers a request that opens MQTT over a WebSocket: at a path for it, or with the subprotocol
 * `mqtt` at `/connect`. Returns undefined for any other request.
 */
export function readMqttUpgrade(
  head: HttpHead,
  mqttPaths: readonly string[],
  allowed: AllowedOrigins,
): WebSocketHandshake | Rejection | undefined {
  const path = head.target.split('?', 1)[0]!;
  const isMqttPath = mqttPaths.includes(path);
  if (!isMqttPath && path !== '/connect') return undefined;
  if (head.method !== 'GET') return undefined;
  if (!isWebSocketUpgrade(head)) {
    if (!isMqttPath) return undefined;
    return malformed(
      'this path serves MQTT over WebSockets; the request has no Upgrade: websocket',
    );
  }
  const handshake = readHandshake(head, isMqttPath);
  const isMqtt =
    'code' in handshake
      ? isMqttPath || handshake.code === 'MQTT_VERSION_UNSUPPORTED'
      : handshake.subprotocol === 'mqtt';
  return isMqtt ? (rejectOrigin(allowed, head) ?? handshake) : undefined;
}

/** Rejects a page whose origin is not allowed. */
export function rejectOrigin(allowed: AllowedOrigins, head: HttpHead): Rejection | undefined {
  if (isOriginAllowed(allowed, head)) return undefined;
  const message =
    'the origin is not allowed; add it to LONGLINE_CORS_ORIGINS, or for clients that are not ' +
    'browsers, set LONGLINE_APP_ORIGINS=allow';
  return rejection('ORIGIN_NOT_ALLOWED', message);
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
  const names = value.split(',').map(trimBlanks);
  const isValid = names.every((name) => TOKEN.test(name)) && new Set(names).size === names.length;
  return isValid ? names : undefined;
}

function malformed(message: string): Rejection {
  return rejection('REQUEST_MALFORMED', message);
}
