/**
 * What a front has to know of a device: its clientId, whatever it speaks. It reads as strictly as an
 * edge and rejects in the same words; all that is no matter of finding the owner it leaves to the
 * edge, which gets the same bytes. Pure.
 */

import { catalogue, type Rejection, rejection } from '../../common/process/errors.js';
import { parseConnectQuery } from '../../common/wire/connect-query.js';
import { type CorsOrigins, corsHeaders } from '../../common/wire/cors.js';
import { couldBeHttp, type HttpHead, readHead } from '../../common/wire/http-head.js';
import { httpRejection, httpResponse } from '../../common/wire/http-response.js';
import { MQTT_CONNECT_BYTE, parseMqttConnect } from '../../common/wire/mqtt/connect.js';
import { connackRejection } from '../../common/wire/mqtt/rejection.js';

/** A device that has said who it is. */
export interface Introduced {
  readonly type: 'introduced';
  readonly clientId: string;
  /** What it is told when it cannot be passed on, in its own protocol. */
  reject(rejected: Rejection): Buffer;
}

export interface Rejected {
  readonly type: 'rejected';
  readonly rejected: Rejection;
  readonly bytes: Buffer;
}

/** How long an EventSource is to wait before it comes again, in milliseconds. */
const RETRY_MS = 2_000;

/**
 * Reads the first bytes of a device.
 * @param searched how many of them an earlier call has seen
 * @returns 'more' while they are not enough
 */
export function readIntroduction(
  bytes: Buffer,
  searched: number,
  headBytesMax: number,
  corsOrigins: CorsOrigins,
): Introduced | Rejected | 'more' {
  if (bytes[0] === MQTT_CONNECT_BYTE) return readMqtt(bytes, headBytesMax);
  if (couldBeHttp(bytes)) return readHttp(bytes, searched, headBytesMax, corsOrigins);
  const why = 'the first bytes are of no protocol that is spoken here';
  return rejectUnknown(rejection('REQUEST_MALFORMED', why));
}

/** In the words that somebody understands whose protocol is not known. */
export function rejectUnknown(rejected: Rejection): Rejected {
  return { type: 'rejected', rejected, bytes: httpRejection(rejected, []) };
}

/** The same for one whose introduction did not come in time. */
export function rejectLate(begun: Buffer, rejected: Rejection): Rejected {
  // An MQTT client whose version is not known is closed without a word.
  if (begun[0] !== MQTT_CONNECT_BYTE) return rejectUnknown(rejected);
  return { type: 'rejected', rejected, bytes: connackRejection(undefined, rejected) };
}

function readMqtt(bytes: Buffer, packetBytesMax: number): Introduced | Rejected | 'more' {
  const connect = parseMqttConnect(bytes, packetBytesMax);
  if (connect === 'more') return 'more';
  if ('code' in connect) {
    const answer = connackRejection(connect.version, connect);
    return { type: 'rejected', rejected: connect, bytes: answer };
  }
  const { clientId, version } = connect;
  return {
    type: 'introduced',
    clientId,
    reject: (rejected) => connackRejection(version, rejected),
  };
}

function readHttp(
  bytes: Buffer,
  searched: number,
  headBytesMax: number,
  corsOrigins: CorsOrigins,
): Introduced | Rejected | 'more' {
  const read = readHead(bytes, searched, headBytesMax);
  if (read === 'more') return 'more';
  if ('code' in read) return rejectUnknown(read);
  const { head } = read;
  const cors = corsHeaders(corsOrigins, head.headers.get('origin'));
  const reject = (rejected: Rejection) => rejectHttp(rejected, head, cors);
  if (head.target.split('?', 1)[0] !== '/connect') {
    const rejected = rejection('NOT_FOUND', 'the only path here is /connect');
    return { type: 'rejected', rejected, bytes: reject(rejected) };
  }
  const query = parseConnectQuery(head.target);
  if ('code' in query) return { type: 'rejected', rejected: query, bytes: reject(query) };
  return { type: 'introduced', clientId: query.clientId, reject };
}

/**
 * An EventSource never comes back after any status but 200 (HTML §9.2.3), so one that is to ask again
 * is told so in a stream.
 */
function rejectHttp(rejected: Rejection, head: HttpHead, cors: [string, string][]): Buffer {
  const mayComeAgain = catalogue[rejected.code].http === 503;
  if (!mayComeAgain || !head.headers.get('accept')?.includes('text/event-stream')) {
    return httpRejection(rejected, cors, head.method);
  }
  const headers: [string, string][] = [
    ['Content-Type', 'text/event-stream'],
    ['Cache-Control', 'no-store'],
    ...cors,
  ];
  return httpResponse(200, headers, `retry: ${RETRY_MS}\nevent: goaway\ndata: {}\n\n`);
}
