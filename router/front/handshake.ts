/**
 * Reads the clientId from the first bytes of a device, in any protocol. It validates and rejects as
 * an edge does; everything that is not needed to find the owner is left to the edge, which receives
 * the same bytes. Pure.
 *
 * MQTT over a WebSocket names its client in the first frames, so the front answers the upgrade
 * itself. The edge receives the same bytes as well, and a mark that the answer was sent.
 */

import type { AllowedOrigins } from '../../common/net/origin.js';
import { catalogue, type Rejection, rejection } from '../../common/process/errors.js';
import { rejectTls } from '../../common/transport/tls-hello.js';
import { parseConnectQuery } from '../../common/wire/connect-query.js';
import { corsHeaders, originIn } from '../../common/wire/cors.js';
import { couldBeHttp, type HttpHead, readHead } from '../../common/wire/http-head.js';
import { accepts } from '../../common/wire/http-lists.js';
import {
  httpRejection,
  httpResponse,
  STREAM_CACHE_CONTROL,
} from '../../common/wire/http-response.js';
import { MQTT_CONNECT_BYTE, parseMqttConnect } from '../../common/wire/mqtt/connect.js';
import { connackRejection } from '../../common/wire/mqtt/rejection.js';
import { readMqttUpgrade } from '../../common/wire/websocket/handshake.js';
import {
  MqttOpeningReader,
  mqttRejectionFrames,
} from '../../common/wire/websocket/mqtt-opening.js';

/** A connect request whose clientId is valid. */
export interface ConnectRequest {
  readonly type: 'accepted';
  readonly clientId: string;
  /** Whether the front has answered the upgrade that the request begins with. */
  readonly isUpgraded: boolean;
  /** Encodes a rejection in the device's protocol. */
  reject(rejected: Rejection): Buffer;
}

export interface RejectedRequest {
  readonly type: 'rejected';
  readonly rejected: Rejection;
  /** The rejection, encoded in the device's protocol as far as that is known. */
  readonly bytes: Buffer;
}

/** A WebSocket for MQTT: CONNECT follows after the response. */
export interface UpgradedRequest {
  readonly type: 'upgraded';
  readonly response: Buffer;
  readonly opening: MqttOpeningReader;
  /** Frames that have arrived already. */
  readonly rest: Buffer;
}

/** The device has closed its WebSocket before CONNECT. */
export interface ClosedRequest {
  readonly type: 'closed';
  /** The answer to its close frame. */
  readonly bytes: Buffer;
}

export interface HandshakeConfig {
  readonly headBytesMax: number;
  readonly corsOrigins: AllowedOrigins;
  /** Paths that serve MQTT over WebSockets. */
  readonly mqttPaths: readonly string[];
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
  config: HandshakeConfig,
): ConnectRequest | UpgradedRequest | RejectedRequest | 'more' {
  if (bytes[0] === MQTT_CONNECT_BYTE) return readMqtt(bytes, config.headBytesMax);
  if (couldBeHttp(bytes)) return readHttp(bytes, searched, config);
  const tls = rejectTls(bytes);
  if (tls !== undefined) return { type: 'rejected', ...tls };
  const message = 'the first bytes are neither HTTP nor an MQTT CONNECT';
  return rejectUnknownProtocol(rejection('REQUEST_MALFORMED', message), bytes, config.corsOrigins);
}

/**
 * Parses the frames of a device that was upgraded.
 * @param bytes only the next bytes
 */
export function readMqttFrames(
  opening: MqttOpeningReader,
  bytes: Buffer,
): ConnectRequest | RejectedRequest | ClosedRequest | 'more' {
  const read = opening.read(bytes, (stream) => readMqtt(stream, opening.packetBytesMax));
  // Pings are answered by the edge, which receives them as well.
  if (read.type === 'more') return 'more';
  if (read.type === 'closed') {
    const { rejected, bytes } = read;
    return rejected === undefined
      ? { type: 'closed', bytes }
      : { type: 'rejected', rejected, bytes };
  }
  const { result } = read;
  if (result.type === 'rejected') {
    return { ...result, bytes: mqttRejectionFrames(result.bytes, result.rejected) };
  }
  const reject = (rejected: Rejection) => mqttRejectionFrames(result.reject(rejected), rejected);
  return { ...result, isUpgraded: true, reject };
}

/** Rejects a device whose protocol is unknown: as HTTP, which people can read at least. */
export function rejectUnknownProtocol(
  rejected: Rejection,
  received: Buffer,
  corsOrigins: AllowedOrigins,
): RejectedRequest {
  const cors = corsHeaders(corsOrigins, originIn(received));
  return { type: 'rejected', rejected, bytes: httpRejection(rejected, cors) };
}

/** Rejects a device whose connect request did not arrive in time. */
export function rejectIncomplete(
  rejected: Rejection,
  received: Buffer,
  corsOrigins: AllowedOrigins,
  isUpgraded: boolean,
): RejectedRequest {
  if (isUpgraded) {
    return { type: 'rejected', rejected, bytes: mqttRejectionFrames(Buffer.alloc(0), rejected) };
  }
  // An MQTT client whose version is unknown is closed without a CONNACK.
  if (received[0] !== MQTT_CONNECT_BYTE) {
    return rejectUnknownProtocol(rejected, received, corsOrigins);
  }
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
    isUpgraded: false,
    reject: (rejected) => connackRejection(version, rejected),
  };
}

function readHttp(
  bytes: Buffer,
  searched: number,
  { headBytesMax, corsOrigins, mqttPaths }: HandshakeConfig,
): ConnectRequest | UpgradedRequest | RejectedRequest | 'more' {
  const read = readHead(bytes, searched, headBytesMax);
  if (read === 'more') return 'more';
  if ('code' in read) return rejectUnknownProtocol(read, bytes, corsOrigins);
  const { head } = read;
  const cors = corsHeaders(corsOrigins, head.headers.get('origin'));
  const reject = (rejected: Rejection) => rejectHttp(rejected, head, cors);
  const path = head.target.split('?', 1)[0]!;
  const mqtt = readMqttUpgrade(head, mqttPaths, corsOrigins);
  if (mqtt !== undefined) {
    if ('code' in mqtt) return { type: 'rejected', rejected: mqtt, bytes: reject(mqtt) };
    const rest = bytes.subarray(read.byteLength);
    return { type: 'upgraded', ...mqtt, opening: new MqttOpeningReader(headBytesMax), rest };
  }
  if (path !== '/connect') {
    const rejected = rejection('NOT_FOUND', 'unknown path; connect to /connect');
    return { type: 'rejected', rejected, bytes: reject(rejected) };
  }
  const query = parseConnectQuery(head.target);
  if ('code' in query) return { type: 'rejected', rejected: query, bytes: reject(query) };
  return { type: 'accepted', clientId: query.clientId, isUpgraded: false, reject };
}

/**
 * An EventSource never reconnects after a status other than 200 (HTML §9.2.3), so a rejection that
 * permits a retry is sent to it as an event in a stream.
 */
function rejectHttp(rejected: Rejection, head: HttpHead, cors: [string, string][]): Buffer {
  const isRetryable = catalogue[rejected.code].http === 503;
  if (!isRetryable || !accepts(head.headers.get('accept'), 'text/event-stream')) {
    return httpRejection(rejected, cors, head.method);
  }
  const headers: [string, string][] = [
    ['Content-Type', 'text/event-stream'],
    ['Cache-Control', STREAM_CACHE_CONTROL],
    ...cors,
  ];
  return httpResponse(200, headers, `retry: ${RETRY_MS}\nevent: goaway\ndata: {}\n\n`);
}
