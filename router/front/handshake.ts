/**
 * Reads the clientId from the first bytes of a device, in any protocol. It validates and rejects as
 * an edge does; everything that is not needed to find the owner is left to the edge, which receives
 * the same bytes. Pure.
 */

import { catalogue, type Rejection, rejection } from '../../common/process/errors.js';
import { parseConnectQuery } from '../../common/wire/connect-query.js';
import { type CorsOrigins, corsHeaders } from '../../common/wire/cors.js';
import { couldBeHttp, type HttpHead, readHead } from '../../common/wire/http-head.js';
import { httpRejection, httpResponse } from '../../common/wire/http-response.js';
import { MQTT_CONNECT_BYTE, parseMqttConnect } from '../../common/wire/mqtt/connect.js';
import { connackRejection } from '../../common/wire/mqtt/rejection.js';

/** A connect request whose clientId is valid. */
export interface ConnectRequest {
  readonly type: 'accepted';
  readonly clientId: string;
  /** Encodes a rejection in the device's protocol. */
  reject(rejected: Rejection): Buffer;
}

export interface RejectedRequest {
  readonly type: 'rejected';
  readonly rejected: Rejection;
  /** The rejection, encoded in the device's protocol as far as that is known. */
  readonly bytes: Buffer;
}

/** Reconnect delay of an EventSource that was rejected, in milliseconds. */
const RETRY_MS = 2_000;

/**
 * Parses the first bytes of a device.
 * @param searched number of these bytes that an earlier call has searched
 * @returns 'more' while the request is incomplete
 */
export function readConnectRequest(
  bytes: Buffer,
  searched: number,
  headBytesMax: number,
  corsOrigins: CorsOrigins,
): ConnectRequest | RejectedRequest | 'more' {
  if (bytes[0] === MQTT_CONNECT_BYTE) return readMqtt(bytes, headBytesMax);
  if (couldBeHttp(bytes)) return readHttp(bytes, searched, headBytesMax, corsOrigins);
  const message = 'the first bytes are neither HTTP nor an MQTT CONNECT';
  return rejectUnknownProtocol(rejection('REQUEST_MALFORMED', message));
}

/** Rejects a device whose protocol is unknown: as HTTP, which people can read at least. */
export function rejectUnknownProtocol(rejected: Rejection): RejectedRequest {
  return { type: 'rejected', rejected, bytes: httpRejection(rejected, []) };
}

/** Rejects a device whose connect request did not arrive in time. */
export function rejectIncomplete(received: Buffer, rejected: Rejection): RejectedRequest {
  // An MQTT client whose version is unknown is closed without a CONNACK.
  if (received[0] !== MQTT_CONNECT_BYTE) return rejectUnknownProtocol(rejected);
  return { type: 'rejected', rejected, bytes: connackRejection(undefined, rejected) };
}

function readMqtt(
  bytes: Buffer,
  packetBytesMax: number,
): ConnectRequest | RejectedRequest | 'more' {
  const connect = parseMqttConnect(bytes, packetBytesMax);
  if (connect === 'more') return 'more';
  if ('code' in connect) {
    const response = connackRejection(connect.version, connect);
    return { type: 'rejected', rejected: connect, bytes: response };
  }
  const { clientId, version } = connect;
  return {
    type: 'accepted',
    clientId,
    reject: (rejected) => connackRejection(version, rejected),
  };
}

function readHttp(
  bytes: Buffer,
  searched: number,
  headBytesMax: number,
  corsOrigins: CorsOrigins,
): ConnectRequest | RejectedRequest | 'more' {
  const read = readHead(bytes, searched, headBytesMax);
  if (read === 'more') return 'more';
  if ('code' in read) return rejectUnknownProtocol(read);
  const { head } = read;
  const cors = corsHeaders(corsOrigins, head.headers.get('origin'));
  const reject = (rejected: Rejection) => rejectHttp(rejected, head, cors);
  if (head.target.split('?', 1)[0] !== '/connect') {
    const rejected = rejection('NOT_FOUND', 'the only path here is /connect');
    return { type: 'rejected', rejected, bytes: reject(rejected) };
  }
  const query = parseConnectQuery(head.target);
  if ('code' in query) return { type: 'rejected', rejected: query, bytes: reject(query) };
  return { type: 'accepted', clientId: query.clientId, reject };
}

/**
 * An EventSource never reconnects after a status other than 200 (HTML §9.2.3), so a rejection that
 * permits a retry is sent to it as an event in a stream.
 */
function rejectHttp(rejected: Rejection, head: HttpHead, cors: [string, string][]): Buffer {
  const isRetryable = catalogue[rejected.code].http === 503;
  if (!isRetryable || !head.headers.get('accept')?.includes('text/event-stream')) {
    return httpRejection(rejected, cors, head.method);
  }
  const headers: [string, string][] = [
    ['Content-Type', 'text/event-stream'],
    ['Cache-Control', 'no-store'],
    ...cors,
  ];
  return httpResponse(200, headers, `retry: ${RETRY_MS}\nevent: goaway\ndata: {}\n\n`);
}
