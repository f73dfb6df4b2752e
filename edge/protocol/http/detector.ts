/**
 * Connect requests over HTTP: `GET /connect?clientId=…`. The headers Upgrade and Accept select the
 * protocol: WebSocket, NDJSON or server-sent events. A WebSocket on a path for MQTT, or with the
 * subprotocol `mqtt`, continues with CONNECT, which has the clientId.
 */
import type { Credentials, Verified } from '../../../common/auth/authenticator.js';
import { bearerOf } from '../../../common/auth/tokens.js';
import { isMessageId } from '../../../common/cluster/inbox.js';
import type { AllowedOrigins } from '../../../common/net/origin.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { Connection } from '../../../common/transport/transport.js';
import { type ConnectTarget, parseConnectQuery } from '../../../common/wire/connect-query.js';
import { corsHeaders, originIn, preflightHeaders } from '../../../common/wire/cors.js';
import { couldBeHttp, type HttpHead, readHead } from '../../../common/wire/http-head.js';
import { accepts } from '../../../common/wire/http-lists.js';
import { httpRejection, httpResponse } from '../../../common/wire/http-response.js';
import {
  isWebSocketUpgrade,
  readHandshake,
  readMqttUpgrade,
  rejectOrigin,
  type WebSocketHandshake,
} from '../../../common/wire/websocket/handshake.js';
import type { MqttWebSocketDetector } from '../mqtt/websocket-detector.js';
import type { ConnectRequest, DetectionResult, GroupHost, ProtocolDetector } from '../protocol.js';
import { envelopeFrame, type JsonWebSocketProtocol } from '../websocket/json.js';
import type { RawWebSocketProtocol } from '../websocket/raw.js';
import type { NdjsonProtocol } from './ndjson.js';
import type { SseProtocol } from './sse.js';

export interface HttpDetectorConfig {
  readonly headBytesMax: number;
  readonly heartbeatMs: number;
  readonly corsOrigins: AllowedOrigins;
  /** Paths that serve MQTT over WebSockets. */
  readonly mqttPaths: readonly string[];
}

/** One protocol per framing, so that each has its own shared bytes. */
export interface ByFraming<StreamProtocol> {
  readonly chunked: StreamProtocol;
  /** For devices that speak HTTP/1.0. */
  readonly untilClose: StreamProtocol;
}

export interface HttpProtocols {
  readonly sse: ByFraming<SseProtocol>;
  readonly ndjson: ByFraming<NdjsonProtocol>;
  readonly websocketRaw: RawWebSocketProtocol;
  readonly websocketJson: JsonWebSocketProtocol;
  readonly mqtt: MqttWebSocketDetector;
}

const NO_BYTES = Buffer.alloc(0);
/** For encoders of streams, which are the same for all connections. */
const NO_CONNECTION: Connection = 0;

export class HttpDetector implements ProtocolDetector {
  constructor(
    readonly config: HttpDetectorConfig,
    readonly protocols: HttpProtocols,
    readonly groups: Pick<GroupHost, 'joinAll'>,
  ) {}

  couldBe(bytes: Buffer): boolean {
    return couldBeHttp(bytes);
  }

  read(bytes: Buffer, searched: number): DetectionResult {
    const read = readHead(bytes, searched, this.config.headBytesMax);
    if (read === 'more') return { type: 'incomplete' };
    if ('code' in read) {
      const cors = corsHeaders(this.config.corsOrigins, originIn(bytes));
      return { type: 'rejected', rejected: read, bytes: httpRejection(read, cors) };
    }
    return this.#route(read.head, bytes.subarray(read.byteLength));
  }

  /** The origin is unknown: pages may read the response if all may. */
  reject(rejected: Rejection): Buffer {
    return httpRejection(rejected, corsHeaders(this.config.corsOrigins, undefined));
  }

  #route(head: HttpHead, rest: Buffer): DetectionResult {
    const path = head.target.split('?', 1)[0]!;
    if (path !== '/connect' && !this.config.mqttPaths.includes(path)) {
      return this.#rejected(rejection('NOT_FOUND', 'unknown path; connect to /connect'), head);
    }
    if (head.method === 'OPTIONS') {
      const preflight = preflightHeaders(head.headers.get('access-control-request-headers'));
      const bytes = httpResponse(204, [...preflight, ...this.#cors(head)]);
      return { type: 'answered', bytes };
    }
    if (head.method !== 'GET') {
      const message = `${path} accepts GET, not ${head.method}`;
      return this.#rejected(rejection('METHOD_NOT_ALLOWED', message), head);
    }
    const mqtt = readMqttUpgrade(head, this.config.mqttPaths, this.config.corsOrigins);
    if (mqtt !== undefined) return this.#upgradeToMqtt(head, mqtt, rest);
    if (rest.length > 0) {
      return this.#rejected(
        rejection('REQUEST_MALFORMED', 'bytes follow the request head; GET /connect has no body'),
        head,
      );
    }
    const query = parseConnectQuery(head.target);
    if ('code' in query) return this.#rejected(query, head);
    return isWebSocketUpgrade(head) ? this.#upgrade(head, query) : this.#stream(head, query);
  }

  #stream(head: HttpHead, query: ConnectTarget): DetectionResult {
    const request = new StreamRequest(this.#received(head, query), this.protocols);
    return { type: 'connect', request };
  }

  #upgrade(head: HttpHead, query: ConnectTarget): DetectionResult {
    const { config, protocols } = this;
    const rejected = rejectOrigin(config.corsOrigins, head);
    if (rejected !== undefined) return this.#rejected(rejected, head);
    const handshake = readHandshake(head);
    if ('code' in handshake) return this.#rejected(handshake, head);
    const isJson = handshake.subprotocol === 'longline.json';
    const protocol = isJson ? protocols.websocketJson : protocols.websocketRaw;
    const request = new UpgradeRequest(this.#received(head, query), protocol, handshake);
    return { type: 'connect', request };
  }

  /** The query may have a token or ticket, and labels; CONNECT has the rest. */
  #upgradeToMqtt(
    head: HttpHead,
    handshake: WebSocketHandshake | Rejection,
    rest: Buffer,
  ): DetectionResult {
    if ('code' in handshake) return this.#rejected(handshake, head);
    const query = new URLSearchParams(head.target.split('?')[1]);
    if (query.has('groups')) {
      const message =
        'an MQTT client joins groups with SUBSCRIBE to group/<name>, not in the query';
      return this.#rejected(rejection('REQUEST_MALFORMED', message), head);
    }
    const token =
      bearerOf(head.headers.get('authorization')) ?? handshake.token ?? query.get('token');
    const ticket = query.get('ticket') ?? undefined;
    const labels = query.get('labels') ?? undefined;
    const detector = this.protocols.mqtt.upgrade({ token: token ?? undefined, ticket }, labels);
    return { type: 'upgraded', response: handshake.response, detector, rest };
  }

  #received(head: HttpHead, query: ConnectTarget): ReceivedRequest {
    const { groups, config } = this;
    return { head, query, groups, cors: this.#cors(head), heartbeatMs: config.heartbeatMs };
  }

  #rejected(rejected: Rejection, head: HttpHead): DetectionResult {
    const bytes = httpRejection(rejected, this.#cors(head), head.method);
    return { type: 'rejected', rejected, bytes };
  }

  #cors(head: HttpHead): [string, string][] {
    return corsHeaders(this.config.corsOrigins, head.headers.get('origin'));
  }
}

/** A valid request, and what its response needs. */
interface ReceivedRequest {
  readonly head: HttpHead;
  readonly query: ConnectTarget;
  readonly groups: Pick<GroupHost, 'joinAll'>;
  readonly cors: [string, string][];
  readonly heartbeatMs: number;
}

/** Members that the streams and WebSockets share. */
abstract class HttpConnectRequest {
  readonly credentials: Credentials;
  readonly cursor: string | undefined;
  readonly startFrom = 'unconfirmed';
  readonly startsUnsubscribed = false;
  readonly isResuming: boolean;
  readonly earlyData = NO_BYTES;
  readonly acceptsEarlyData = false;

  readonly query: ConnectTarget;
  readonly groups: Pick<GroupHost, 'joinAll'>;
  readonly cors: [string, string][];
  readonly heartbeatMs: number;

  /** @param token token from outside the Authorization header and the query, if any */
  constructor(received: ReceivedRequest, token: string | undefined) {
    const { headers } = received.head;
    const { credentials, lastEventId } = received.query;
    this.query = received.query;
    this.groups = received.groups;
    this.cors = received.cors;
    this.heartbeatMs = received.heartbeatMs;
    const bearer = bearerOf(headers.get('authorization')) ?? token ?? credentials.token;
    this.credentials = { ticket: credentials.ticket, token: bearer };
    const lastId = headers.get('last-event-id') ?? lastEventId;
    this.cursor = lastId === '' || isMessageId(lastId) ? lastId : undefined;
    this.isResuming = lastId !== '';
  }

  prepare({ groups: claims }: Verified): Promise<Rejection | undefined> | undefined {
    const { clientId, groups } = this.query;
    return groups && this.groups.joinAll(clientId, claims, groups);
  }
}

class StreamRequest extends HttpConnectRequest implements ConnectRequest {
  readonly followsRedirects = true;
  readonly protocol: SseProtocol | NdjsonProtocol;

  constructor(received: ReceivedRequest, { ndjson, sse }: HttpProtocols) {
    super(received, undefined);
    const { head } = received;
    const { chunked, untilClose } = accepts(head.headers.get('accept'), 'application/x-ndjson')
      ? ndjson
      : sse;
    this.protocol = head.minorVersion > 0 ? chunked : untilClose;
  }

  accept(ticket: string | undefined): Buffer {
    const { cors, heartbeatMs, query } = this;
    return this.protocol.encodeOpening(cors, { clientId: query.clientId, heartbeatMs, ticket });
  }

  reject(rejected: Rejection): Buffer {
    return httpRejection(rejected, this.cors);
  }

  /**
   * A stream with one goaway: an EventSource never reconnects after a status other than 200 (HTML
   * §9.2.3).
   */
  retryLater({ retryAfterS = 1 }: Rejection): Buffer {
    const goaway = this.protocol.encodeGoaway(NO_CONNECTION, retryAfterS * 1_000, undefined);
    return Buffer.concat([this.accept(undefined), goaway!]);
  }

  redirect(url: string): Buffer {
    return httpResponse(307, [['Location', url], ['Cache-Control', 'no-store'], ...this.cors]);
  }
}

class UpgradeRequest extends HttpConnectRequest implements ConnectRequest {
  readonly followsRedirects = false;

  constructor(
    received: ReceivedRequest,
    readonly protocol: RawWebSocketProtocol | JsonWebSocketProtocol,
    readonly handshake: WebSocketHandshake,
  ) {
    super(received, handshake.token);
  }

  accept(ticket: string | undefined): Buffer {
    const { response, subprotocol } = this.handshake;
    if (subprotocol !== 'longline.json') return response;
    const { heartbeatMs, query } = this;
    const { clientId } = query;
    const welcome = envelopeFrame({ type: 'welcome', clientId, heartbeatMs, ticket });
    return Buffer.concat([response, welcome]);
  }

  reject(rejected: Rejection): Buffer {
    return httpRejection(rejected, this.cors);
  }

  retryLater(rejected: Rejection): Buffer {
    return this.reject(rejected);
  }

  /** Browsers and most libraries do not follow one (RFC 6455 §4.1); the client becomes a guest. */
  redirect(): undefined {
    return undefined;
  }

  onRegistered(connection: Connection): void {
    this.protocol.restartTimer(connection);
  }
}
