/**
 * The port that devices connect to. It reads the first bytes of a connection, decides with them
 * what the device speaks and wants, and hands connections that hold a client to `Clients`.
 *
 * Until then a connection costs one entry in `#pending`, with bounded bytes and an absolute deadline:
 * a device that sends its request one byte at a time does not live longer for it.
 */
import type { Counter } from 'prom-client';
import type { Authenticator, Verified } from '../../common/auth/authenticator.js';
import type { Assignment, Position } from '../../common/cluster/assignment.js';
import { shardOf } from '../../common/cluster/shard.js';
import { type Endpoint, parseEndpoint } from '../../common/net/ip-address.js';
import { randomBetween } from '../../common/process/backoff.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Metrics } from '../../common/process/metrics.js';
import type {
  CloseCause,
  Connection,
  Transport,
  TransportEvents,
} from '../../common/transport/transport.js';
import { connectUrl } from '../../common/wire/connect-query.js';
import { sentUnderOf } from '../../common/wire/front-tlv.js';
import { ProxyGuard } from '../../common/wire/proxy-guard.js';
import type { ConnectRequest, ProtocolDetector } from '../protocol/protocol.js';
import { type Clients, EARLY_BYTES_MAX } from '../session/clients.js';
import { AddressPrefixes } from './address-prefixes.js';
import { admit } from './admission.js';
import { type HandshakeOptions, Handshakes } from './handshakes.js';
import type { PeerAddresses } from './peer-addresses.js';

export interface DevicePortConfig {
  readonly edgeId: string;
  readonly headTimeoutMs: number;
  readonly connectionsMax: number;
  readonly connectionsPerPrefixMax: number | undefined;
  readonly handshakes: HandshakeOptions;
  readonly proxyNetworks: readonly string[];
}

/** A connection that holds no client yet. */
interface Pending {
  /** `reading` its first bytes · `queued`: it waits to be let in · `preparing` what it takes. */
  stage: 'reading' | 'queued' | 'preparing';
  /** Since when it is being read, or being prepared. */
  sinceMs: number;
  /** Of an request that is not complete; then, what has come behind it. */
  bytes: Buffer;
  /** Whether a PROXY header may still come first. */
  isAtStart: boolean;
  /** Of a device that a front has sent: under which assignment. */
  frontedUnder: Position | undefined;
  /** Who reads it, once that is clear. */
  detector: ProtocolDetector | undefined;
  /** What it has said, once that is understood. */
  request: ConnectRequest | undefined;
  /** Once it is known to be who it says. */
  verified: Verified | undefined;
}

/** Whoever is told to come again is told so with jitter, in seconds. */
const RETRY_AFTER_S_MAX = 10;

const NO_BYTES = Buffer.alloc(0);
/** How long a device that a front has sent here in vain waits before it comes again. */
const RETRY_MS = { min: 500, max: 2_000 };

export class DevicePort implements TransportEvents {
  /** Oldest first. */
  readonly #pending = new Map<Connection, Pending>();
  readonly #handshakes: Handshakes<Connection>;
  readonly #prefixes: AddressPrefixes | undefined;
  readonly #rejected: Counter<'code'>;
  readonly #redirected: Counter;
  readonly #overLimit: Counter;
  readonly #sentBack: Counter;
  readonly #proxies: ProxyGuard;
  /** Set once, before the port opens: transport, clients and this know each other. */
  transport!: Transport;
  clients!: Clients;
  /** The first one answers what nobody knows. */
  detectors!: readonly [ProtocolDetector, ...ProtocolDetector[]];
  /** The edge is about to end: nobody is let in. */
  isClosing = false;
  /** The edge is short of memory: nobody new is let in. */
  isShort = false;

  constructor(
    readonly config: DevicePortConfig,
    readonly assignment: () => Assignment | undefined,
    readonly origins: PeerAddresses,
    readonly authenticator: Authenticator,
    metrics: Metrics,
  ) {
    this.#handshakes = new Handshakes(config.handshakes);
    const perPrefixMax = config.connectionsPerPrefixMax;
    this.#prefixes = perPrefixMax === undefined ? undefined : new AddressPrefixes(perPrefixMax);
    metrics.gauge(
      'longline_edge_handshakes_pending',
      'Devices that have said what they want and wait to be let in.',
      () => this.#handshakes.waitingCount,
    );
    metrics.gauge(
      'longline_edge_handshakes_per_second_max',
      'How many devices a second are let in at most, at the moment; +Inf without a pace.',
      () => this.#handshakes.perSecond,
    );
    this.#proxies = new ProxyGuard(config.proxyNetworks);
    this.#sentBack = metrics.counter(
      'longline_edge_front_stale_routes_total',
      'Devices that a front has sent here and that were told to come again, as they belong elsewhere.',
    );
    this.#rejected = metrics.counter(
      'longline_edge_requests_rejected_total',
      'Requests on the device port that were rejected, by error code.',
      ['code'],
    );
    this.#redirected = metrics.counter(
      'longline_edge_redirects_total',
      'Devices that were sent to the owner of their shard.',
    );
    this.#overLimit = metrics.counter(
      'longline_edge_connections_over_limit_total',
      'Connections closed unheard because too many were open.',
    );
  }

  onOpen(connection: Connection): void {
    this.#pending.set(connection, {
      stage: 'reading',
      sinceMs: Date.now(),
      bytes: NO_BYTES,
      isAtStart: true,
      frontedUnder: undefined,
      detector: undefined,
      request: undefined,
      verified: undefined,
    });
    if (this.#prefixes === undefined) return;
    const source = parseEndpoint(this.transport.remoteAddress(connection) ?? '');
    // Of whom a proxy brings, its header will tell.
    if (source !== undefined && !this.#proxies.believes(source)) this.#enter(connection, source);
  }

  onBytes(connection: Connection, bytes: Buffer): void {
    const pending = this.#pending.get(connection);
    if (pending === undefined) this.clients.onBytes(connection, bytes);
    else if (pending.request === undefined) this.#read(connection, pending, bytes);
    else this.#hurry(connection, pending, pending.request, bytes);
  }

  /** A FIN ends the connection: no client of ours closes only one direction and stays. */
  onEnd(connection: Connection): void {
    if (this.#pending.delete(connection)) this.transport.end(connection);
    else this.clients.end(connection, 'peer');
  }

  onClose(connection: Connection, cause: CloseCause): void {
    this.#pending.delete(connection);
    this.clients.end(connection, cause === 'error' ? 'error' : 'peer');
    this.origins.forget(connection);
    this.#prefixes?.leave(connection);
  }

  onOverLimit(): void {
    this.#overLimit.inc();
  }

  onTimer(connection: Connection): void {
    this.clients.onTimer(connection);
  }

  /** Connections that were accepted and are not served yet. */
  get waitingCount(): number {
    return this.#pending.size + this.clients.openingCount;
  }

  /**
   * Lets in whose turn it is. To be called every `HANDSHAKE_STEP_MS`.
   * @param lateMs how late this call is
   */
  letIn(lateMs: number): void {
    const isHere = (connection: Connection) => this.#pending.has(connection);
    const pressure = { lateMs, reads: this.clients.catchUp.readsUnderWay };
    const { entering, late } = this.#handshakes.step(performance.now(), pressure, isHere);
    this.transport.acceptAtMost(this.#handshakes.accepts);
    for (const connection of late) {
      const pending = this.#pending.get(connection)!;
      this.#overloaded(connection, pending.request!, 'too many devices were let in before');
    }
    for (const connection of entering) {
      const pending = this.#pending.get(connection)!;
      this.#authenticate(connection, pending, pending.request!);
    }
  }

  /** Ends what has taken too long. To be called about once a second. */
  sweep(nowMs: number): void {
    const deadlineMs = nowMs - this.config.headTimeoutMs;
    for (const [connection, pending] of this.#pending) {
      if (pending.sinceMs >= deadlineMs) break;
      if (pending.stage === 'queued') continue;
      const rejected = this.#tooLate(pending);
      const rejecter = pending.request ?? pending.detector ?? this.detectors[0];
      this.#reject(connection, rejected, rejecter.reject(rejected));
    }
    for (const connection of [...this.clients.openingSince(deadlineMs)]) {
      const why = 'the subscription of this shard could not be confirmed in time';
      const rejected = rejection('NOT_READY', why);
      this.#rejected.inc({ code: rejected.code });
      this.clients.reject(connection, rejected);
    }
  }

  #read(connection: Connection, pending: Pending, bytes: Buffer): void {
    // Nearly always the first bytes come whole, and nothing of them is kept.
    const { length } = pending.bytes;
    const all = length === 0 ? bytes : Buffer.concat([pending.bytes, bytes]);
    if (pending.isAtStart) this.#readStart(connection, pending, all);
    else this.#introduce(connection, pending, all, length);
  }

  #readStart(connection: Connection, pending: Pending, bytes: Buffer): void {
    const header = this.#proxies.read(bytes, () => this.transport.remoteAddress(connection));
    if (header === 'more') {
      // What is kept must not be the transport's buffer.
      pending.bytes = Buffer.from(bytes);
      return;
    }
    if (header === 'none') {
      pending.isAtStart = false;
      return this.#introduce(connection, pending, bytes, 0);
    }
    if ('code' in header) {
      return this.#reject(connection, header, this.detectors[0].reject(header));
    }
    pending.isAtStart = false;
    pending.frontedUnder = sentUnderOf(header);
    this.origins.set(connection, header.source, pending.frontedUnder !== undefined);
    pending.bytes = NO_BYTES;
    if (header.source !== undefined && !this.#enter(connection, header.source)) return;
    const rest = bytes.subarray(header.byteLength);
    if (rest.length > 0) this.#introduce(connection, pending, rest, 0);
  }

  /** Returns false when too many are there from where it comes: then it was rejected. */
  #enter(connection: Connection, source: Endpoint): boolean {
    if (this.#prefixes?.enter(connection, source) ?? true) return true;
    const max = this.config.connectionsPerPrefixMax;
    const rejected = rejection(
      'PREFIX_FULL',
      `${max} connections come from the same place already`,
    );
    this.#reject(connection, rejected, this.detectors[0].reject(rejected));
    return false;
  }

  /** @param searched how many of the bytes an earlier call has seen */
  #introduce(connection: Connection, pending: Pending, all: Buffer, searched: number): void {
    const detector = this.detectors.find((each) => each.couldBe(all));
    if (detector === undefined) {
      const why = 'the first bytes are of no protocol that is spoken here';
      const rejected = rejection('REQUEST_MALFORMED', why);
      return this.#reject(connection, rejected, this.detectors[0].reject(rejected));
    }
    pending.detector = detector;
    const read = detector.read(all, searched);
    switch (read.type) {
      case 'incomplete':
        pending.bytes = searched === 0 ? Buffer.from(all) : all;
        return;
      case 'answered':
        return this.#respond(connection, read.bytes);
      case 'rejected':
        return this.#reject(connection, read.rejected, read.bytes);
      case 'connect':
        return this.#queue(connection, pending, read.request);
    }
  }

  #queue(connection: Connection, pending: Pending, request: ConnectRequest): void {
    pending.stage = 'queued';
    pending.request = request;
    // What is kept must not be the transport's buffer.
    pending.bytes = request.earlyData.length === 0 ? NO_BYTES : Buffer.from(request.earlyData);
    const { query, credentials } = request;
    const isResuming =
      request.isResuming && this.authenticator.isKnown(query.clientId, credentials);
    const offer = this.#handshakes.offer(performance.now(), connection, isResuming, this.isShort);
    if (offer === 'enter') this.#authenticate(connection, pending, request);
    else if (offer === 'rejected') {
      const why = this.isShort ? 'the edge is short of memory' : 'too many devices wait already';
      this.#overloaded(connection, request, why);
    }
  }

  #overloaded(connection: Connection, request: ConnectRequest, why: string): void {
    const retryAfterS = randomBetween(1, RETRY_AFTER_S_MAX);
    const rejected = { ...rejection('OVERLOADED', `${why}; ask again`), retryAfterS };
    this.#reject(connection, rejected, request.reject(rejected));
  }

  /** Nothing is done for a device before it is known to be who it says. */
  #authenticate(connection: Connection, pending: Pending, request: ConnectRequest): void {
    const { query, credentials } = request;
    const onChecked = (checked: Verified | Rejection) => {
      if ('code' in checked) {
        return this.#reject(connection, checked, request.reject(checked));
      }
      pending.verified = checked;
      this.#prepare(connection, pending, request);
    };
    const checking = this.authenticator.check(query.clientId, credentials);
    if (checking instanceof Promise) this.#await(connection, pending, checking, onChecked);
    else onChecked(checking);
  }

  #prepare(connection: Connection, pending: Pending, request: ConnectRequest): void {
    const preparing = request.prepare?.();
    if (preparing === undefined) return this.#connect(connection, pending, request);
    this.#await(connection, pending, preparing, (rejected) => {
      if (rejected === undefined) this.#connect(connection, pending, request);
      else this.#reject(connection, rejected, request.reject(rejected));
    });
  }

  /** Goes on with what was waited for, if the connection is still there and was not rejected. */
  #await<Result>(
    connection: Connection,
    pending: Pending,
    waitedFor: Promise<Result>,
    goOn: (result: Result) => void,
  ): void {
    pending.stage = 'preparing';
    pending.sinceMs = Date.now();
    // The oldest come first.
    this.#pending.delete(connection);
    this.#pending.set(connection, pending);
    void waitedFor.then((result) => {
      if (this.#pending.get(connection) === pending) goOn(result);
    });
  }

  /** More has come before the device was answered. */
  #hurry(connection: Connection, pending: Pending, request: ConnectRequest, bytes: Buffer): void {
    if (request.acceptsEarlyData && pending.bytes.length + bytes.length <= EARLY_BYTES_MAX) {
      pending.bytes = Buffer.concat([pending.bytes, bytes]);
      return;
    }
    const rejected = rejection('REQUEST_MALFORMED', 'bytes have come before the answer');
    this.#reject(connection, rejected, request.reject(rejected));
  }

  #tooLate({ request }: Pending): Rejection {
    const seconds = this.config.headTimeoutMs / 1000;
    if (request !== undefined) {
      return rejection('NOT_READY', `what the request needs was not there within ${seconds} s`);
    }
    return rejection('HEAD_TIMEOUT', `the request head was not complete within ${seconds} s`);
  }

  #connect(connection: Connection, pending: Pending, request: ConnectRequest): void {
    const { query } = request;
    const { clientId } = query;
    const sentUnder = pending.frontedUnder ?? query.sentUnder;
    const shard = shardOf(clientId, this.clients.table.shardCount);
    const assignment = this.assignment();
    const admission = admit(assignment, this.config.edgeId, shard, sentUnder);
    if (this.origins.isFronted(connection)) {
      if (admission.type === 'redirect' || this.isClosing) {
        return this.#sendBack(connection, pending, request, shard);
      }
    } else if (admission.type === 'redirect') {
      // A ticket and not the token: the address of another edge is no place for it.
      const ticket = this.authenticator.issueTicket(clientId, pending.verified!);
      const url = connectUrl(admission.owner.advertisedUrl, query, assignment!.position, ticket);
      const redirection = request.redirect(url);
      if (redirection !== undefined) {
        this.#redirected.inc();
        return this.#respond(connection, redirection);
      }
      if (!this.clients.shards.takesGuest(shard)) {
        const why = 'too many devices that belong to other edges are here; come through a front';
        const rejected = rejection('GUESTS_FULL', why);
        return this.#reject(connection, rejected, request.reject(rejected));
      }
    }
    const rejected = this.#rejection(shard, clientId);
    if (rejected !== undefined) {
      return this.#reject(connection, rejected, request.reject(rejected));
    }
    this.#pending.delete(connection);
    this.clients.open(connection, shard, request, pending.verified!, pending.bytes);
  }

  /**
   * A router with an older assignment than ours has sent it. It knows no address but the front's, so
   * it is told to come again, in the words of its protocol: by then the router knows more.
   */
  #sendBack(
    connection: Connection,
    pending: Pending,
    request: ConnectRequest,
    shard: number,
  ): void {
    this.#sentBack.inc();
    this.#pending.delete(connection);
    this.clients.open(connection, shard, request, pending.verified!, pending.bytes);
    const { min, max } = RETRY_MS;
    this.clients.letGo(connection, randomBetween(min, max), undefined);
  }

  #rejection(shard: number, clientId: string): Rejection | undefined {
    const { table } = this.clients;
    const { connectionsMax } = this.config;
    if (this.isClosing) return rejection('NOT_READY', 'this edge is about to end; ask again');
    // Whoever is here already takes its own place: its old connection may be long dead.
    if (table.count < connectionsMax || table.find(shard, clientId) !== undefined) return undefined;
    const why = `the edge holds ${connectionsMax} connections and takes no more`;
    return rejection('EDGE_FULL', why);
  }

  #reject(connection: Connection, { code }: Rejection, bytes: Buffer): void {
    this.#rejected.inc({ code });
    this.#respond(connection, bytes);
  }

  #respond(connection: Connection, response: Buffer): void {
    this.#pending.delete(connection);
    this.transport.write(connection, response);
    this.transport.end(connection);
  }
}
