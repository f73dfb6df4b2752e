/**
 * The port that devices connect to. It reads the first bytes of a connection, decides with them
 * what the device wants, and hands connections that hold a client to `Clients`.
 *
 * Until then a connection costs one entry in `#heads`, with bounded bytes and an absolute deadline:
 * a device that sends its request one byte at a time does not live longer for it.
 */
import type { Counter } from 'prom-client';
import type { Assignment } from '../common/assignment.js';
import { type ConnectQuery, connectUrl, parseConnectQuery } from '../common/connect-query.js';
import { type CorsOrigins, corsHeaders, PREFLIGHT_HEADERS } from '../common/cors.js';
import { type Refusal, refusal } from '../common/errors.js';
import { isMessageId } from '../common/inbox.js';
import type { Metrics } from '../common/metrics.js';
import { shardOf } from '../common/shard.js';
import type {
  CloseCause,
  Connection,
  Transport,
  TransportEvents,
} from '../common/transport/transport.js';
import { admit } from './admission.js';
import type { Clients } from './clients.js';
import { couldBeHttp, findHeadEnd, type HttpHead, parseHead } from './protocol/http-head.js';
import { httpRefusal, httpResponse } from './protocol/http-response.js';
import { sseOpening } from './protocol/sse.js';

export interface DevicePortConfig {
  readonly edgeId: string;
  readonly headBytesMax: number;
  readonly headTimeoutMs: number;
  readonly connectionsMax: number;
  readonly corsOrigins: CorsOrigins;
}

/** A connection that has not said yet what it wants. */
interface PendingHead {
  readonly sinceMs: number;
  bytes: Buffer;
}

const NO_BYTES = Buffer.alloc(0);

export class DevicePort implements TransportEvents {
  /** Oldest first. */
  readonly #heads = new Map<Connection, PendingHead>();
  readonly #refused: Counter<'code'>;
  readonly #redirected: Counter;
  readonly #turnedAway: Counter;
  /** Set once, before the port opens: transport, clients and this know each other. */
  transport!: Transport;
  clients!: Clients;
  /** The edge is about to end: nobody is let in. */
  isClosing = false;

  constructor(
    readonly config: DevicePortConfig,
    readonly assignment: () => Assignment | undefined,
    metrics: Metrics,
  ) {
    this.#refused = metrics.counter(
      'longline_edge_requests_refused_total',
      'Requests on the device port that were refused, by error code.',
      ['code'],
    );
    this.#redirected = metrics.counter(
      'longline_edge_redirects_total',
      'Devices that were sent to the owner of their shard.',
    );
    this.#turnedAway = metrics.counter(
      'longline_edge_connections_turned_away_total',
      'Connections closed unheard because too many were open.',
    );
  }

  onOpen(connection: Connection): void {
    this.#heads.set(connection, { sinceMs: Date.now(), bytes: NO_BYTES });
  }

  onBytes(connection: Connection, bytes: Buffer): void {
    const head = this.#heads.get(connection);
    // Server-sent events flow one way: whoever goes on talking wants something else from us.
    if (head === undefined) this.clients.end(connection, 'unexpected_bytes');
    else this.#read(connection, head, bytes);
  }

  /** A FIN ends the connection: no client of ours closes only one direction and stays. */
  onEnd(connection: Connection): void {
    if (this.#heads.delete(connection)) this.transport.end(connection);
    else this.clients.end(connection, 'peer');
  }

  onClose(connection: Connection, cause: CloseCause): void {
    this.#heads.delete(connection);
    this.clients.end(connection, cause === 'error' ? 'error' : 'peer');
  }

  onTurnedAway(): void {
    this.#turnedAway.inc();
  }

  /** What has a deadline here is swept. */
  onTimer(): void {}

  /** Connections that were accepted and are not served yet. */
  get waitingCount(): number {
    return this.#heads.size + this.clients.openingCount;
  }

  /** Ends what has taken too long. To be called about once a second. */
  sweep(nowMs: number): void {
    const deadlineMs = nowMs - this.config.headTimeoutMs;
    for (const [connection, head] of this.#heads) {
      if (head.sinceMs >= deadlineMs) break;
      const seconds = this.config.headTimeoutMs / 1000;
      const why = `the request head was not complete within ${seconds} s`;
      this.#refuse(connection, refusal('HEAD_TIMEOUT', why), undefined);
    }
    for (const connection of [...this.clients.openingSince(deadlineMs)]) {
      this.clients.end(connection, 'not_ready');
      const why = 'the subscription of this shard could not be confirmed in time';
      this.#refuse(connection, refusal('NOT_READY', why), undefined);
    }
  }

  #read(connection: Connection, head: PendingHead, bytes: Buffer): void {
    const searched = head.bytes.length;
    // Nearly always the head comes whole, and nothing of it is kept.
    const all = searched === 0 ? bytes : Buffer.concat([head.bytes, bytes]);
    if (!couldBeHttp(all)) {
      const why = 'the first bytes are of no protocol that is spoken here';
      return this.#refuse(connection, refusal('REQUEST_MALFORMED', why), undefined);
    }
    const end = findHeadEnd(all, searched);
    if (end > this.config.headBytesMax || (end < 0 && all.length > this.config.headBytesMax)) {
      const why = `the request head is over ${this.config.headBytesMax} bytes`;
      return this.#refuse(connection, refusal('HEAD_TOO_LARGE', why), undefined);
    }
    if (end < 0) {
      // What is kept must not be the transport's buffer.
      head.bytes = searched === 0 ? Buffer.from(bytes) : all;
      return;
    }
    const parsed = parseHead(all.subarray(0, end));
    if ('code' in parsed) return this.#refuse(connection, parsed, undefined);
    if (end < all.length) {
      const why = 'bytes follow the request head';
      return this.#refuse(connection, refusal('REQUEST_MALFORMED', why), parsed);
    }
    this.#answer(connection, parsed);
  }

  #answer(connection: Connection, head: HttpHead): void {
    const path = head.target.split('?', 1)[0];
    if (path !== '/connect') {
      return this.#refuse(connection, refusal('NOT_FOUND', 'the only path here is /connect'), head);
    }
    if (head.method === 'OPTIONS') {
      const headers = [...PREFLIGHT_HEADERS, ...this.#cors(head)];
      return this.#respond(connection, httpResponse(204, headers));
    }
    if (head.method !== 'GET') {
      const why = `/connect is for GET, not ${head.method}`;
      return this.#refuse(connection, refusal('METHOD_NOT_ALLOWED', why), head);
    }
    const query = parseConnectQuery(head.target);
    if ('code' in query) return this.#refuse(connection, query, head);
    this.#connect(connection, head, query);
  }

  #connect(connection: Connection, head: HttpHead, query: ConnectQuery): void {
    const { clientId, sentUnder } = query;
    const shard = shardOf(clientId, this.clients.table.shardCount);
    const assignment = this.assignment();
    const admission = admit(assignment, this.config.edgeId, shard, sentUnder);
    if (admission.type === 'redirect') {
      this.#redirected.inc();
      const url = connectUrl(admission.owner.advertisedUrl, query, assignment!.position);
      const headers: [string, string][] = [
        ['Location', url],
        ['Cache-Control', 'no-store'],
        ...this.#cors(head),
      ];
      return this.#respond(connection, httpResponse(307, headers));
    }
    if (this.isClosing) {
      const why = 'this edge is about to end; ask again';
      return this.#refuse(connection, refusal('NOT_READY', why), head);
    }
    const { table } = this.clients;
    // Whoever is here already takes its own place: its old connection may be long dead.
    if (table.count >= this.config.connectionsMax && table.find(shard, clientId) === undefined) {
      const why = `the edge holds ${this.config.connectionsMax} connections and takes no more`;
      return this.#refuse(connection, refusal('EDGE_FULL', why), head);
    }
    this.#heads.delete(connection);
    const firstBytes = sseOpening(this.#cors(head));
    const named = head.headers.get('last-event-id') ?? query.lastEventId;
    const cursor = named === '' || isMessageId(named) ? named : undefined;
    this.clients.open(connection, { clientId, shard, firstBytes, cursor });
  }

  #cors(head: HttpHead): [string, string][] {
    return corsHeaders(this.config.corsOrigins, head.headers.get('origin'));
  }

  /** @param head undefined while the request is not understood: then no page may read the answer */
  #refuse(connection: Connection, refused: Refusal, head: HttpHead | undefined): void {
    this.#refused.inc({ code: refused.code });
    const cors = head === undefined ? [] : this.#cors(head);
    this.#respond(connection, httpRefusal(refused, cors));
  }

  #respond(connection: Connection, response: Buffer): void {
    this.#heads.delete(connection);
    this.transport.write(connection, response);
    this.transport.end(connection);
  }
}
