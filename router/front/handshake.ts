/**
 * What a front has to know of a device: its clientId, whatever it speaks. It reads as strictly as an
 * edge and refuses in the same words; all that is no matter of finding the owner it leaves to the
 * edge, which gets the same bytes. Pure.
 */

import { catalogue, type Refusal, refusal } from '../../common/process/errors.js';
import { parseConnectQuery } from '../../common/wire/connect-query.js';
import { type CorsOrigins, corsHeaders } from '../../common/wire/cors.js';
import { couldBeHttp, type HttpHead, readHead } from '../../common/wire/http-head.js';
import { httpRefusal, httpResponse } from '../../common/wire/http-response.js';
import { MQTT_CONNECT_BYTE, parseMqttConnect } from '../../common/wire/mqtt/connect.js';
import { connackRefusal } from '../../common/wire/mqtt/rejection.js';

/** A device that has said who it is. */
export interface Introduced {
  readonly type: 'introduced';
  readonly clientId: string;
  /** What it is told when it cannot be passed on, in its own protocol. */
  refuse(refused: Refusal): Buffer;
}

export interface Refused {
  readonly type: 'refused';
  readonly refused: Refusal;
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
): Introduced | Refused | 'more' {
  if (bytes[0] === MQTT_CONNECT_BYTE) return readMqtt(bytes, headBytesMax);
  if (couldBeHttp(bytes)) return readHttp(bytes, searched, headBytesMax, corsOrigins);
  const why = 'the first bytes are of no protocol that is spoken here';
  return refuseUnknown(refusal('REQUEST_MALFORMED', why));
}

/** In the words that somebody understands whose protocol is not known. */
export function refuseUnknown(refused: Refusal): Refused {
  return { type: 'refused', refused, bytes: httpRefusal(refused, []) };
}

/** The same for one whose introduction did not come in time. */
export function refuseLate(begun: Buffer, refused: Refusal): Refused {
  // An MQTT client whose version is not known is closed without a word.
  if (begun[0] !== MQTT_CONNECT_BYTE) return refuseUnknown(refused);
  return { type: 'refused', refused, bytes: connackRefusal(undefined, refused) };
}

function readMqtt(bytes: Buffer, packetBytesMax: number): Introduced | Refused | 'more' {
  const connect = parseMqttConnect(bytes, packetBytesMax);
  if (connect === 'more') return 'more';
  if ('code' in connect) {
    const answer = connackRefusal(connect.version, connect);
    return { type: 'refused', refused: connect, bytes: answer };
  }
  const { clientId, version } = connect;
  return {
    type: 'introduced',
    clientId,
    refuse: (refused) => connackRefusal(version, refused),
  };
}

function readHttp(
  bytes: Buffer,
  searched: number,
  headBytesMax: number,
  corsOrigins: CorsOrigins,
): Introduced | Refused | 'more' {
  const read = readHead(bytes, searched, headBytesMax);
  if (read === 'more') return 'more';
  if ('code' in read) return refuseUnknown(read);
  const { head } = read;
  const cors = corsHeaders(corsOrigins, head.headers.get('origin'));
  const refuse = (refused: Refusal) => refuseHttp(refused, head, cors);
  if (head.target.split('?', 1)[0] !== '/connect') {
    const refused = refusal('NOT_FOUND', 'the only path here is /connect');
    return { type: 'refused', refused, bytes: refuse(refused) };
  }
  const query = parseConnectQuery(head.target);
  if ('code' in query) return { type: 'refused', refused: query, bytes: refuse(query) };
  return { type: 'introduced', clientId: query.clientId, refuse };
}

/**
 * An EventSource never comes back after any status but 200 (HTML §9.2.3), so one that is to ask again
 * is told so in a stream.
 */
function refuseHttp(refused: Refusal, head: HttpHead, cors: [string, string][]): Buffer {
  const mayComeAgain = catalogue[refused.code].http === 503;
  if (!mayComeAgain || !head.headers.get('accept')?.includes('text/event-stream')) {
    return httpRefusal(refused, cors, head.method);
  }
  const headers: [string, string][] = [
    ['Content-Type', 'text/event-stream'],
    ['Cache-Control', 'no-store'],
    ...cors,
  ];
  return httpResponse(200, headers, `retry: ${RETRY_MS}\nevent: goaway\ndata: {}\n\n`);
}
