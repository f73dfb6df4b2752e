/**
 * Connect requests over HTTP: `GET /connect?clientId=…`. The headers Upgrade and Accept select the
 * protocol: WebSocket, NDJSON or server-sent events.
 */
import type { Credentials } from '../../../common/auth/authenticator.js';
import { bearerOf } from '../../../common/auth/tokens.js';
import { isMessageId } from '../../../common/cluster/inbox.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { Connection } from '../../../common/transport/transport.js';
import { type ConnectTarget, parseConnectQuery } from '../../../common/wire/connect-query.js';
import { type CorsOrigins, corsHeaders, PREFLIGHT_HEADERS } from '../../../common/wire/cors.js';
import { couldBeHttp, type HttpHead, readHead } from '../../../common/wire/http-head.js';
import { httpRejection, httpResponse } from '../../../common/wire/http-response.js';
import type { ConnectRequest, DetectionResult, Protocol, ProtocolDetector } from '../protocol.js';
import {
  isOriginAllowed,
  isWebSocketUpgrade,
  readHandshake,
  type WebSocketHandshake,
} from '../websocket/handshake.js';
import { envelopeFrame, type JsonWebSocketProtocol } from '../websocket/json.js';
import type { RawWebSocketProtocol } from '../websocket/raw.js';
import { ndjsonOpening } from './ndjson.js';
import { sseOpening } from './sse.js';

export interface HttpDetectorConfig {
  readonly headBytesMax: number;
  readonly heartbeatMs: number;
  readonly corsOrigins: CorsOrigins;
}

export interface HttpProtocols {
  readonly sse: Protocol;
  readonly ndjson: Protocol;
  readonly websocketRaw: RawWebSocketProtocol;
  readonly websocketJson: JsonWebSocketProtocol;
}

const NO_BYTES = Buffer.alloc(0);

export class HttpDetector implements ProtocolDetector {
  constructor(
    readonly config: HttpDetectorConfig,
    readonly protocols: HttpProtocols,
  ) {}

  couldBe(bytes: Buffer): boolean {
    return couldBeHttp(bytes);
  }

  read(bytes: Buffer, searched: number): DetectionResult {
    const read = readHead(bytes, searched, this.config.headBytesMax);
    if (read === 'more') return { type: 'incomplete' };
    if ('code' in read) return this.#rejected(read);
    return this.#route(read.head, read.byteLength < bytes.length);
  }

  /** Without CORS headers: the origin is unknown, so no page may read the response. */
  reject(rejected: Rejection): Buffer {
    return httpRejection(rejected, []);
  }

  #route(head: HttpHead, hasTrailingBytes: boolean): DetectionResult {
    if (head.target.split('?', 1)[0] !== '/connect') {
      return this.#rejected(rejection('NOT_FOUND', 'unknown path; connect to /connect'), head);
    }
    if (head.method === 'OPTIONS') {
      const bytes = httpResponse(204, [...PREFLIGHT_HEADERS, ...this.#cors(head)]);
      return { type: 'answered', bytes };
    }
    if (head.method !== 'GET') {
      const message = `/connect accepts GET, not ${head.method}`;
      return this.#rejected(rejection('METHOD_NOT_ALLOWED', message), head);
    }
    if (hasTrailingBytes) {
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
    const { heartbeatMs } = this.config;
    const cors = this.#cors(head);
    const request = new StreamRequest(head, query, this.protocols, cors, heartbeatMs);
    return { type: 'connect', request };
  }

  #upgrade(head: HttpHead, query: ConnectTarget): DetectionResult {
    const { config, protocols } = this;
    if (!isOriginAllowed(config.corsOrigins, head)) {
      const message = 'the origin is not allowed; add it to LONGLINE_CORS_ORIGINS';
      return this.#rejected(rejection('ORIGIN_NOT_ALLOWED', message), head);
    }
    const handshake = readHandshake(head);
    if ('code' in handshake) return this.#rejected(handshake, head);
    const isJson = handshake.subprotocol === 'longline.json';
    const protocol = isJson ? protocols.websocketJson : protocols.websocketRaw;
    const request = new UpgradeRequest(head, query, protocol, handshake, config.heartbeatMs);
    return { type: 'connect', request };
  }

  #rejected(rejected: Rejection, head?: HttpHead): DetectionResult {
    const cors = head === undefined ? [] : this.#cors(head);
    return { type: 'rejected', rejected, bytes: httpRejection(rejected, cors, head?.method) };
  }

  #cors(head: HttpHead): [string, string][] {
    return corsHeaders(this.config.corsOrigins, head.headers.get('origin'));
  }
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

  /** @param token token from outside the Authorization header and the query, if any */
  constructor(
    { headers }: HttpHead,
    readonly query: ConnectTarget,
    token: string | undefined,
  ) {
    const { credentials, lastEventId } = query;
    const bearer = bearerOf(headers.get('authorization')) ?? token ?? credentials.token;
    this.credentials = { ticket: credentials.ticket, token: bearer };
    const lastId = headers.get('last-event-id') ?? lastEventId;
    this.cursor = lastId === '' || isMessageId(lastId) ? lastId : undefined;
    this.isResuming = lastId !== '';
  }
}

class StreamRequest extends HttpConnectRequest implements ConnectRequest {
  readonly protocol: Protocol;
  readonly #isNdjson: boolean;

  constructor(
    head: HttpHead,
    query: ConnectTarget,
    { ndjson, sse }: HttpProtocols,
    readonly cors: [string, string][],
    readonly heartbeatMs: number,
  ) {
    super(head, query, undefined);
    this.#isNdjson = head.headers.get('accept')?.includes('application/x-ndjson') ?? false;
    this.protocol = this.#isNdjson ? ndjson : sse;
  }

  accept(ticket: string | undefined): Buffer {
    const { cors, heartbeatMs, query } = this;
    if (!this.#isNdjson) return sseOpening(cors, ticket);
    return ndjsonOpening(cors, { clientId: query.clientId, heartbeatMs, ticket });
  }

  reject(rejected: Rejection): Buffer {
    return httpRejection(rejected, this.cors);
  }

  redirect(url: string): Buffer {
    return httpResponse(307, [['Location', url], ['Cache-Control', 'no-store'], ...this.cors]);
  }
}

class UpgradeRequest extends HttpConnectRequest implements ConnectRequest {
  constructor(
    head: HttpHead,
    query: ConnectTarget,
    readonly protocol: RawWebSocketProtocol | JsonWebSocketProtocol,
    readonly handshake: WebSocketHandshake,
    readonly heartbeatMs: number,
  ) {
    super(head, query, handshake.token);
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
    return httpRejection(rejected, []);
  }

  /** Browsers and most libraries do not follow one (RFC 6455 §4.1); the client becomes a guest. */
  redirect(): undefined {
    return undefined;
  }

  onRegistered(connection: Connection): void {
    this.protocol.restartTimer(connection);
  }
}
