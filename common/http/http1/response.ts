/** Responses of HTTP/1.1 whose bodies are text. */
import { catalogue, errorBody, type Rejection } from '../../process/errors.js';
import { headerLines, statusLine } from '../../wire/http-response.js';

export interface TextResponse {
  readonly status: number;
  readonly body: string;
  readonly headers?: readonly (readonly [name: string, value: string])[];
}

const OK_START = `${statusLine(200)}Content-Type: application/json\r\nContent-Length: `;
const CLOSE = 'Connection: close\r\n';

export function jsonResponse(body: object): TextResponse {
  return { status: 200, body: JSON.stringify(body) };
}

/** @param allow methods of the path, for METHOD_NOT_ALLOWED */
export function rejectionResponse(rejected: Rejection, allow = ''): TextResponse {
  const status = catalogue[rejected.code].http;
  const headers: [string, string][] = [];
  // RFC 9110 §11.6.1, §10.2.1, §10.2.3
  if (status === 401) headers.push(['WWW-Authenticate', 'Bearer']);
  if (status === 405) headers.push(['Allow', allow]);
  if (status === 429 || status === 503) {
    headers.push(['Retry-After', `${rejected.retryAfterS ?? 1}`]);
  }
  return { status, body: JSON.stringify(errorBody(rejected)), headers };
}

/** @param isHead whether the request was HEAD, whose response has no body (RFC 9110 §9.3.2) */
export function encodeResponse(
  { status, body, headers }: TextResponse,
  isClose: boolean,
  isHead: boolean,
): string {
  const start =
    status === 200
      ? OK_START
      : `${statusLine(status)}Content-Type: application/json\r\nContent-Length: `;
  const more = headers === undefined ? '' : headerLines(headers);
  return `${start}${Buffer.byteLength(body)}\r\n${more}${isClose ? CLOSE : ''}\r\n${isHead ? '' : body}`;
}
