/**
 * How a device introduces itself over HTTP: `GET /connect?clientId=…`. What it accepts says which
 * of the streams it gets.
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
  type Handshake,
  isOriginAllowed,
  isWebSocketUpgrade,
  readHandshake,
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
    return this.#understand(read.head, read.byteLength < bytes.length);
  }

  /** While the request is not understood no page may read the answer. */
  reject(rejected: Rejection): Buffer {
    return httpRejection(rejected, []);
  }

  #understand(head: HttpHead, isFollowed: boolean): DetectionResult {
    if (head.target.split('?', 1)[0] !== '/connect') {
      return this.#rejected(rejection('NOT_FOUND', 'the only path here is /connect'), head);
    }
    if (head.method === 'OPTIONS') {
      const bytes = httpResponse(204, [...PREFLIGHT_HEADERS, ...this.#cors(head)]);
      return { type: 'answered', bytes };
    }
    if (head.method !== 'GET') {
      const why = `/connect is for GET, not ${head.method}`;
      return this.#rejected(rejection('METHOD_NOT_ALLOWED', why), head);
    }
    if (isFollowed) {
      return this.#rejected(rejection('REQUEST_MALFORMED', 'bytes follow the request head'), head);
    }
    const query = parseConnectQuery(head.target);
    if ('code' in query) return this.#rejected(query, head);
    return isWebSocketUpgrade(head) ? this.#upgrade(head, query) : this.#stream(head, query);
  }

  #stream(head: HttpHead, query: ConnectTarget): DetectionResult {
    const { heartbeatMs } = this.config;
    const cors = this.#cors(head);
    const request = new StreamConnectRequest(head, query, this.protocols, cors, heartbeatMs);
    return { type: 'connect', request };
  }

  #upgrade(head: HttpHead, query: ConnectTarget): DetectionResult {
    const { config, protocols } = this;
    if (!isOriginAllowed(config.corsOrigins, head)) {
      const why = 'pages of this origin may not connect: LONGLINE_CORS_ORIGINS says which may';
      return this.#rejected(rejection('ORIGIN_NOT_ALLOWED', why), head);
    }
    const handshake = readHandshake(head);
    if ('code' in handshake) return this.#rejected(handshake, head);
    const isJson = handshake.subprotocol === 'longline.json';
    const protocol = isJson ? protocols.websocketJson : protocols.websocketRaw;
    const request = new UpgradeConnectRequest(head, query, protocol, handshake, config.heartbeatMs);
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

/** What all that comes over HTTP has in common. */
class HttpConnectRequest {
  readonly credentials: Credentials;
  readonly cursor: string | undefined;
  readonly startFrom = 'unconfirmed';
  readonly startsUnsubscribed = false;
  readonly isResuming: boolean;
  readonly earlyData = NO_BYTES;
  readonly acceptsEarlyData = false;

  constructor(
    { headers }: HttpHead,
    readonly query: ConnectTarget,
    token: string | undefined,
  ) {
    const { credentials, lastEventId } = query;
    const shown = bearerOf(headers.get('authorization')) ?? token ?? credentials.token;
    this.credentials = { ticket: credentials.ticket, token: shown };
    const named = headers.get('last-event-id') ?? lastEventId;
    this.cursor = named === '' || isMessageId(named) ? named : undefined;
    this.isResuming = named !== '';
  }
}

class StreamConnectRequest extends HttpConnectRequest implements ConnectRequest {
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

class UpgradeConnectRequest extends HttpConnectRequest implements ConnectRequest {
  constructor(
    head: HttpHead,
    query: ConnectTarget,
    readonly protocol: RawWebSocketProtocol | JsonWebSocketProtocol,
    readonly handshake: Handshake,
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

  /** Browsers, and most others, do not follow one here (RFC 6455 §4.1): it is served as a guest. */
  redirect(): undefined {
    return undefined;
  }

  onRegistered(connection: Connection): void {
    this.protocol.begin(connection);
  }
}
