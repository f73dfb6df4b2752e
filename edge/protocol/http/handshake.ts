/**
 * How a device introduces itself over HTTP: `GET /connect?clientId=…`. What it accepts says which
 * of the streams it gets.
 */
import type { Credentials } from '../../../common/auth/authenticator.js';
import { bearerOf } from '../../../common/auth/tokens.js';
import { isMessageId } from '../../../common/cluster/inbox.js';
import { type Refusal, refusal } from '../../../common/process/errors.js';
import type { Connection } from '../../../common/transport/transport.js';
import { type ConnectRequest, parseConnectQuery } from '../../../common/wire/connect-query.js';
import { type CorsOrigins, corsHeaders, PREFLIGHT_HEADERS } from '../../../common/wire/cors.js';
import { couldBeHttp, type HttpHead, readHead } from '../../../common/wire/http-head.js';
import { httpRefusal, httpResponse } from '../../../common/wire/http-response.js';
import type { FirstBytes, Introducer, Introduction, Protocol } from '../protocol.js';
import {
  type Handshake,
  isOriginAllowed,
  isWebSocketUpgrade,
  readHandshake,
} from '../websocket/handshake.js';
import { envelopeFrame, type WebSocketJson } from '../websocket/websocket-json.js';
import type { WebSocketRaw } from '../websocket/websocket-raw.js';
import { ndjsonOpening } from './ndjson.js';
import { sseOpening } from './sse.js';

export interface HttpIntroducerConfig {
  readonly headBytesMax: number;
  readonly heartbeatMs: number;
  readonly corsOrigins: CorsOrigins;
}

export interface HttpProtocols {
  readonly sse: Protocol;
  readonly ndjson: Protocol;
  readonly websocketRaw: WebSocketRaw;
  readonly websocketJson: WebSocketJson;
}

const NO_BYTES = Buffer.alloc(0);

export class HttpIntroducer implements Introducer {
  constructor(
    readonly config: HttpIntroducerConfig,
    readonly protocols: HttpProtocols,
  ) {}

  couldBe(bytes: Buffer): boolean {
    return couldBeHttp(bytes);
  }

  read(bytes: Buffer, searched: number): FirstBytes {
    const read = readHead(bytes, searched, this.config.headBytesMax);
    if (read === 'more') return { type: 'incomplete' };
    if ('code' in read) return this.#refused(read);
    return this.#understand(read.head, read.byteLength < bytes.length);
  }

  /** While the request is not understood no page may read the answer. */
  refuse(refused: Refusal): Buffer {
    return httpRefusal(refused, []);
  }

  #understand(head: HttpHead, isFollowed: boolean): FirstBytes {
    if (head.target.split('?', 1)[0] !== '/connect') {
      return this.#refused(refusal('NOT_FOUND', 'the only path here is /connect'), head);
    }
    if (head.method === 'OPTIONS') {
      const bytes = httpResponse(204, [...PREFLIGHT_HEADERS, ...this.#cors(head)]);
      return { type: 'answered', bytes };
    }
    if (head.method !== 'GET') {
      const why = `/connect is for GET, not ${head.method}`;
      return this.#refused(refusal('METHOD_NOT_ALLOWED', why), head);
    }
    if (isFollowed) {
      return this.#refused(refusal('REQUEST_MALFORMED', 'bytes follow the request head'), head);
    }
    const query = parseConnectQuery(head.target);
    if ('code' in query) return this.#refused(query, head);
    return isWebSocketUpgrade(head) ? this.#upgrade(head, query) : this.#stream(head, query);
  }

  #stream(head: HttpHead, query: ConnectRequest): FirstBytes {
    const { heartbeatMs } = this.config;
    const cors = this.#cors(head);
    const introduction = new StreamIntroduction(head, query, this.protocols, cors, heartbeatMs);
    return { type: 'introduction', introduction };
  }

  #upgrade(head: HttpHead, query: ConnectRequest): FirstBytes {
    const { config, protocols } = this;
    if (!isOriginAllowed(config.corsOrigins, head)) {
      const why = 'pages of this origin may not connect: LONGLINE_CORS_ORIGINS says which may';
      return this.#refused(refusal('ORIGIN_REFUSED', why), head);
    }
    const handshake = readHandshake(head);
    if ('code' in handshake) return this.#refused(handshake, head);
    const isJson = handshake.subprotocol === 'longline.json';
    const protocol = isJson ? protocols.websocketJson : protocols.websocketRaw;
    const introduction = new UpgradeIntroduction(
      head,
      query,
      protocol,
      handshake,
      config.heartbeatMs,
    );
    return { type: 'introduction', introduction };
  }

  #refused(refused: Refusal, head?: HttpHead): FirstBytes {
    const cors = head === undefined ? [] : this.#cors(head);
    return { type: 'refused', refused, bytes: httpRefusal(refused, cors, head?.method) };
  }

  #cors(head: HttpHead): [string, string][] {
    return corsHeaders(this.config.corsOrigins, head.headers.get('origin'));
  }
}

/** What all that comes over HTTP has in common. */
class HttpIntroduction {
  readonly credentials: Credentials;
  readonly cursor: string | undefined;
  readonly from = 'unconfirmed';
  readonly isDeaf = false;
  readonly isResuming: boolean;
  readonly rest = NO_BYTES;
  readonly mayHurry = false;

  constructor(
    { headers }: HttpHead,
    readonly query: ConnectRequest,
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

class StreamIntroduction extends HttpIntroduction implements Introduction {
  readonly protocol: Protocol;
  readonly #isNdjson: boolean;

  constructor(
    head: HttpHead,
    query: ConnectRequest,
    { ndjson, sse }: HttpProtocols,
    readonly cors: [string, string][],
    readonly heartbeatMs: number,
  ) {
    super(head, query, undefined);
    this.#isNdjson = head.headers.get('accept')?.includes('application/x-ndjson') ?? false;
    this.protocol = this.#isNdjson ? ndjson : sse;
  }

  answer(ticket: string | undefined): Buffer {
    const { cors, heartbeatMs, query } = this;
    if (!this.#isNdjson) return sseOpening(cors, ticket);
    return ndjsonOpening(cors, { clientId: query.clientId, heartbeatMs, ticket });
  }

  refuse(refused: Refusal): Buffer {
    return httpRefusal(refused, this.cors);
  }

  redirect(url: string): Buffer {
    return httpResponse(307, [['Location', url], ['Cache-Control', 'no-store'], ...this.cors]);
  }
}

class UpgradeIntroduction extends HttpIntroduction implements Introduction {
  constructor(
    head: HttpHead,
    query: ConnectRequest,
    readonly protocol: WebSocketRaw | WebSocketJson,
    readonly handshake: Handshake,
    readonly heartbeatMs: number,
  ) {
    super(head, query, handshake.token);
  }

  answer(ticket: string | undefined): Buffer {
    const { response, subprotocol } = this.handshake;
    if (subprotocol !== 'longline.json') return response;
    const { heartbeatMs, query } = this;
    const { clientId } = query;
    const welcome = envelopeFrame({ type: 'welcome', clientId, heartbeatMs, ticket });
    return Buffer.concat([response, welcome]);
  }

  refuse(refused: Refusal): Buffer {
    return httpRefusal(refused, []);
  }

  /** Browsers, and most others, do not follow one here (RFC 6455 §4.1): it is served as a guest. */
  redirect(): undefined {
    return undefined;
  }

  onRegistered(connection: Connection): void {
    this.protocol.begin(connection);
  }
}
