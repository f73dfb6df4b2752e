/** HTTP/1.1 responses to devices. Each response ends the connection. */
import { STATUS_CODES } from '../net/node-http.js';
import { catalogue, errorBody, type Rejection } from '../process/errors.js';
import { type BodyFraming, frameText } from './body-framing.js';

type Headers = readonly (readonly [string, string])[];

export const STREAM_CACHE_CONTROL = 'no-store, no-transform';

export function httpResponse(status: number, headers: Headers, body = ''): Buffer {
  // A 204 must not have a Content-Length (RFC 9110 §8.6).
  const length = status === 204 ? '' : `Content-Length: ${Buffer.byteLength(body)}\r\n`;
  return Buffer.from(
    `${statusLine(status)}${headerLines(headers)}${length}Connection: close\r\n\r\n${body}`,
  );
}

/** @param method method of the request, if it could be parsed */
export function httpRejection(rejected: Rejection, headers: Headers, method = ''): Buffer {
  const status = catalogue[rejected.code].http;
  const all: [string, string][] = [
    ['Content-Type', 'application/json'],
    ['Cache-Control', 'no-store'],
  ];
  // RFC 9110 §11.6.1
  if (status === 401) all.push(['WWW-Authenticate', 'Bearer']);
  if (status === 405) all.push(['Allow', 'GET, OPTIONS']);
  if (status === 426) {
    // RFC 9110 §15.5.22, RFC 6455 §4.4
    all.push(['Upgrade', 'websocket'], ['Connection', 'Upgrade'], ['Sec-WebSocket-Version', '13']);
  }
  if (status === 503 || status === 429) all.push(['Retry-After', `${rejected.retryAfterS ?? 1}`]);
  const body = JSON.stringify(errorBody(rejected));
  const response = httpResponse(status, [...all, ...headers], body);
  // RFC 9110 §9.3.2: the Content-Length of the body, without the body.
  return method === 'HEAD' ? response.subarray(0, -Buffer.byteLength(body)) : response;
}

/** Shared by all connections with the same parameters. */
const streamHeads = new Map<string, Buffer>();
/** More heads than a cluster with a fixed list of origins needs. Others are not kept. */
const STREAM_HEADS_MAX = 64;

/**
 * Returns the head of a streaming response and the start of its body.
 *
 * `no-transform` keeps a proxy from compressing the stream, which would hold events back (RFC 9111
 * §5.2.2.6); nginx needs X-Accel-Buffering instead.
 */
export function streamHead(
  contentType: string,
  framing: BodyFraming,
  corsHeaders: Headers,
  bodyStart: string,
): Buffer {
  const cors = headerLines(corsHeaders);
  const key = `${contentType}\n${framing.isChunked}\n${bodyStart}\n${cors}`;
  const known = streamHeads.get(key);
  if (known !== undefined) return known;
  const headers: Headers = [
    ['Content-Type', contentType],
    ['Cache-Control', STREAM_CACHE_CONTROL],
    ['X-Accel-Buffering', 'no'],
    ...(framing.isChunked ? ([['Transfer-Encoding', 'chunked']] as const) : []),
    ['Connection', 'close'],
  ];
  const head = Buffer.from(
    `${statusLine(200)}${headerLines(headers)}${cors}\r\n${frameText(framing, bodyStart)}`,
  );
  if (streamHeads.size < STREAM_HEADS_MAX) streamHeads.set(key, head);
  return head;
}

export function statusLine(status: number): string {
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n`;
}

export function headerLines(headers: Headers): string {
  return headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
}
