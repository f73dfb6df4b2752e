/**
 * The port that devices connect to. It detects the protocol from the first bytes of a connection,
 * authenticates the client, and passes the connection to `Clients`, or redirects or rejects it.
 *
 * Until then a connection costs one entry in `#pending`, with bounded bytes and an absolute
 * deadline: sending a request one byte at a time does not extend it.
 */
import type { Authenticator, Verified } from '../../common/auth/authenticator.js';
import { readDeviceCertificate } from '../../common/auth/certificates.js';
import type { AssignedEdge, Assignment } from '../../common/cluster/assignment.js';
import { shardOf } from '../../common/cluster/shard.js';
import { type Endpoint, parseEndpoint } from '../../common/net/ip-address.js';
import { randomBetween } from '../../common/process/backoff.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { MemoryWatch } from '../../common/process/memory/memory-watch.js';
import type { Metrics } from '../../common/process/metrics.js';
import { rejectTls } from '../../common/transport/tls-hello.js';
import type { TlsFiles } from '../../common/transport/tls-identity.js';
import type {
  CloseCause,
  Connection,
  Transport,
  TransportEvents,
} from '../../common/transport/transport.js';
import { connectUrl } from '../../common/wire/connect-query.js';
import { hasUpgradedTlv, readFrontTlv, readTicketTlv } from '../../common/wire/front-tlv.js';
import type { Position } from '../../common/wire/position.js';
import { ProxyGuard } from '../../common/wire/proxy-guard.js';
import type {
  ConnectRequest,
  DetectionResult,
  ProtocolDetector,
  Upgraded,
} from '../protocol/protocol.js';
import { type Clients, EARLY_DATA_BYTES_MAX } from '../session/clients.js';
import type { ConnectionLabels } from '../session/connection-labels.js';
import type { Connections } from '../session/connections.js';
import type { Shards } from '../shards/shards.js';
import { AddressPrefixes } from './address-prefixes.js';
import { type Admission, admit } from './admission.js';
import type { Blocks } from './blocks.js';
import { DeviceAuthentication } from './device-authentication.js';
import { DeviceCounters } from './device-counters.js';
import { type HandshakeOptions, Handshakes } from './handshakes.js';
import type { PeerAddresses } from './peer-addresses.js';
import { type Pending, pendingSince } from './pending.js';

export interface DevicePortConfig {
  readonly edgeId: string;
  readonly headTimeoutMs: number;
  readonly connectionsMax: number;
  readonly connectionsPerPrefixMax: number | undefined;
  readonly handshakes: HandshakeOptions;
  readonly proxyNetworks: readonly string[];
  /** Undefined: devices connect without TLS. */
  readonly tls: TlsFiles | undefined;
}

export interface DevicePortOptions {
  readonly config: DevicePortConfig;
  readonly transport: Transport;
  /** The first one encodes the rejection of a connection whose protocol is unknown. */
  readonly detectors: readonly [ProtocolDetector, ...ProtocolDetector[]];
  readonly peers: PeerAddresses;
  readonly authenticator: Authenticator;
  readonly assignment: () => Assignment | undefined;
  readonly shards: Pick<Shards, 'acceptsGuest'>;
  readonly table: Connections;
  readonly clients: Clients;
  readonly blocks: Pick<Blocks, 'reject'>;
  readonly labels: Pick<ConnectionLabels, 'readQuery'>;
  /** A device was rejected that could have been served elsewhere or later. */
  readonly onTurnedAway: (clientId: string) => void;
  /** Inbox reads that are running or queued. */
  readonly pendingReads: () => number;
  /** While it is low, no new device is admitted. */
  readonly memory: Pick<MemoryWatch, 'isLow'>;
  /** Pushes that were written to devices until now. */
  readonly pushesWritten: () => number;
  readonly metrics: Metrics;
}

/** Retry-After is randomised up to this value, in seconds. */
const RETRY_AFTER_S_MAX = 10;
/** The same for a device that a front proxy has sent to the wrong edge. */
const RETRY_STALE_S_MAX = 2;

const NO_BYTES = Buffer.alloc(0);

export class DevicePort implements TransportEvents {
  /** Oldest first. */
  readonly #pending = new Map<Connection, Pending>();
  readonly #handshakes: Handshakes<Connection>;
  readonly #prefixes: AddressPrefixes | undefined;
  readonly #proxies: ProxyGuard;
  readonly #authentication: DeviceAuthentication;
  readonly #counters: DeviceCounters;
  /** Whether the edge is about to exit: no device is admitted. */
  isClosing = false;
  /** Whether devices of other edges' shards are rejected that follow no redirect. */
  rejectsGuests = false;

  constructor(readonly options: DevicePortOptions) {
    const { config, authenticator, metrics } = options;
    this.#authentication = new DeviceAuthentication(authenticator, config.tls);
    this.#handshakes = new Handshakes(config.handshakes);
    const perPrefixMax = config.connectionsPerPrefixMax;
    this.#prefixes = perPrefixMax === undefined ? undefined : new AddressPrefixes(perPrefixMax);
    this.#proxies = new ProxyGuard(config.proxyNetworks);
    metrics.gauge(
      'longline_edge_handshakes_pending',
      'Devices that have sent their connect request and wait for admission',
      () => this.#handshakes.queuedCount,
    );
    metrics.gauge(
      'longline_edge_handshakes_per_second_max',
      'Current bound on admissions per second; +Inf if not paced',
      () => this.#handshakes.perSecond,
    );
    this.#counters = new DeviceCounters(metrics);
  }

  onOpen(connection: Connection): void {
    this.#pending.set(connection, pendingSince(performance.now()));
    if (this.#prefixes === undefined) return;
    const source = parseEndpoint(this.options.transport.remoteAddress(connection) ?? '');
    // A connection from a proxy is counted when its PROXY header states the client's address.
    if (source !== undefined && !this.#proxies.trusts(source)) {
      this.#countPrefix(connection, source);
    }
  }

  onBytes(connection: Connection, bytes: Buffer): void {
    const pending = this.#pending.get(connection);
    if (pending === undefined) this.options.clients.onBytes(connection, bytes);
    else if (pending.request === undefined) this.#read(connection, pending, bytes);
    else this.#onEarlyData(connection, pending, pending.request, bytes);
  }

  onClientCertificate(connection: Connection, certificate: Buffer): void {
    const pending = this.#pending.get(connection);
    if (pending !== undefined) pending.certificate = readDeviceCertificate(certificate);
  }

  /** A FIN ends the connection: no client half-closes and stays. */
  onEnd(connection: Connection): void {
    const { transport, clients } = this.options;
    if (this.#pending.delete(connection)) transport.end(connection);
    else clients.end(connection, 'peer');
  }

  onClose(connection: Connection, cause: CloseCause): void {
    const { clients, peers } = this.options;
    this.#pending.delete(connection);
    clients.end(connection, cause === 'error' ? 'error' : 'peer');
    peers.forget(connection);
    this.#prefixes?.remove(connection);
  }

  onOverLimit(): void {
    this.#counters.overLimit.inc();
  }

  onTimer(connection: Connection): void {
    this.options.clients.onTimer(connection);
  }

  /** Connections that were accepted by the transport and are not served yet. */
  get pendingCount(): number {
    return this.#pending.size + this.options.clients.openingCount;
  }

  /**
   * Admits queued devices. To be called every `HANDSHAKE_STEP_MS`.
   * @param lateMs how late this call is
   */
  admitQueued(lateMs: number): void {
    const { transport, pendingReads, pushesWritten } = this.options;
    const isConnected = (connection: Connection) => this.#pending.has(connection);
    const pressure = { lateMs, reads: pendingReads(), pushes: pushesWritten() };
    const { admitted, expired } = this.#handshakes.step(performance.now(), pressure, isConnected);
    transport.acceptAtMost(this.#handshakes.accepts);
    for (const connection of expired) {
      const pending = this.#pending.get(connection)!;
      this.#rejectOverload(connection, pending.request!, 'the device was not admitted in time');
    }
    for (const connection of admitted) {
      const pending = this.#pending.get(connection)!;
      this.#authenticate(connection, pending, pending.request!);
    }
  }

  /** Rejects connections that have exceeded their deadline. To be called about once a second. */
  sweep(nowMs: number): void {
    const { config, detectors, clients } = this.options;
    const deadlineMs = nowMs - config.headTimeoutMs;
    for (const [connection, pending] of this.#pending) {
      if (pending.sinceMs >= deadlineMs) break;
      if (pending.stage === 'queued') continue;
      const rejected = this.#timeoutRejection(pending);
      const rejecter = pending.request ?? pending.detector ?? detectors[0];
      this.#reject(connection, rejected, rejecter.reject(rejected));
    }
    for (const connection of [...clients.openingSince(deadlineMs)]) {
      const message = 'the subscription of this shard was not confirmed in time; retry';
      const rejected = rejection('NOT_READY', message);
      this.#counters.rejected.inc({ code: rejected.code });
      clients.reject(connection, rejected);
    }
  }

  #read(connection: Connection, pending: Pending, bytes: Buffer): void {
    if (pending.isUpgraded) return this.#readUpgraded(connection, pending, bytes);
    // Nearly always the first bytes are the whole request, and none of them are kept.
    const { length } = pending.bytes;
    const all = length === 0 ? bytes : Buffer.concat([pending.bytes, bytes]);
    if (pending.isAtStart) this.#readProxyHeader(connection, pending, all);
    else this.#detect(connection, pending, all, length);
  }

  #readProxyHeader(connection: Connection, pending: Pending, bytes: Buffer): void {
    const { transport, detectors, peers } = this.options;
    const header = this.#proxies.read(bytes, () => transport.remoteAddress(connection));
    if (header === 'more') {
      // A copy, because the buffer belongs to the transport.
      pending.bytes = Buffer.from(bytes);
      return;
    }
    if (header === 'none') {
      pending.isAtStart = false;
      return this.#start(connection, pending, bytes);
    }
    if ('code' in header) {
      return this.#reject(connection, header, detectors[0].reject(header));
    }
    pending.isAtStart = false;
    pending.frontedUnder = readFrontTlv(header);
    pending.frontTicket = pending.frontedUnder && readTicketTlv(header);
    pending.isAnswered = pending.frontedUnder !== undefined && hasUpgradedTlv(header);
    peers.set(connection, header.source, pending.frontedUnder !== undefined);
    if (header.source !== undefined && !this.#countPrefix(connection, header.source)) return;
    this.#start(connection, pending, bytes.subarray(header.byteLength));
  }

  /** Starts TLS behind the place of a PROXY header; a front proxy has ended it already. */
  #start(connection: Connection, pending: Pending, bytes: Buffer): void {
    const { config, transport } = this.options;
    pending.bytes = NO_BYTES;
    const isSecured = !config.tls?.startsPlain || pending.frontedUnder !== undefined;
    if (!isSecured) transport.secure(connection, bytes);
    else if (bytes.length > 0) this.#detect(connection, pending, bytes, 0);
  }

  /** Returns false, after a rejection, if the prefix of the source is at its limit. */
  #countPrefix(connection: Connection, source: Endpoint): boolean {
    if (this.#prefixes?.add(connection, source) ?? true) return true;
    const { config, detectors } = this.options;
    const message = `${config.connectionsPerPrefixMax} connections from this address prefix are open`;
    const rejected = rejection('PREFIX_FULL', message);
    // No rejection can be sent before the TLS handshake.
    const bytes = config.tls?.startsPlain ? NO_BYTES : detectors[0].reject(rejected);
    this.#reject(connection, rejected, bytes);
    return false;
  }

  /** @param searched number of bytes that an earlier call has searched */
  #detect(connection: Connection, pending: Pending, all: Buffer, searched: number): void {
    const { detectors } = this.options;
    const detector = detectors.find((each) => each.couldBe(all));
    if (detector === undefined) {
      const tls = rejectTls(all);
      if (tls !== undefined) return this.#reject(connection, tls.rejected, tls.bytes);
      const message = 'the first bytes belong to no supported protocol; use HTTP or MQTT';
      const rejected = rejection('REQUEST_MALFORMED', message);
      return this.#reject(connection, rejected, detectors[0].reject(rejected));
    }
    pending.detector = detector;
    const read = detector.read(all, searched);
    if (read.type === 'incomplete') pending.bytes = searched === 0 ? Buffer.from(all) : all;
    else this.#proceed(connection, pending, read);
  }

  #proceed(connection: Connection, pending: Pending, read: DetectionResult): void {
    if ('reply' in read && read.reply !== undefined) {
      this.options.transport.write(connection, read.reply);
    }
    switch (read.type) {
      case 'incomplete':
        return;
      case 'answered':
        return this.#respond(connection, read.bytes);
      case 'rejected':
        return this.#reject(connection, read.rejected, read.bytes);
      case 'connect':
        return this.#queue(connection, pending, read.request);
      case 'upgraded':
        return this.#upgrade(connection, pending, read);
    }
  }

  #upgrade(connection: Connection, pending: Pending, upgraded: Upgraded): void {
    if (!pending.isAnswered) this.options.transport.write(connection, upgraded.response);
    pending.isUpgraded = true;
    pending.detector = upgraded.detector;
    pending.bytes = NO_BYTES;
    if (upgraded.rest.length > 0) this.#readUpgraded(connection, pending, upgraded.rest);
  }

  #readUpgraded(connection: Connection, pending: Pending, bytes: Buffer): void {
    this.#proceed(connection, pending, pending.detector!.read(bytes, 0));
  }

  #queue(connection: Connection, pending: Pending, request: ConnectRequest): void {
    const { memory } = this.options;
    pending.stage = 'queued';
    pending.request = request;
    if (this.#rejectLeaving(connection, pending, request)) return;
    // A copy, because the buffer belongs to the transport.
    pending.bytes = request.earlyData.length === 0 ? NO_BYTES : Buffer.from(request.earlyData);
    const isResuming = request.isResuming && this.#authentication.isKnown(pending, request);
    const offer = this.#handshakes.offer(performance.now(), connection, isResuming, memory.isLow);
    if (offer === 'admitted') this.#authenticate(connection, pending, request);
    else if (offer === 'rejected') {
      const message = memory.isLow ? 'the edge is short of memory' : 'too many devices are waiting';
      this.#rejectOverload(connection, request, message);
    }
  }

  #rejectOverload(connection: Connection, request: ConnectRequest, message: string): void {
    const retryAfterS = randomBetween(1, RETRY_AFTER_S_MAX);
    const rejected = { ...rejection('OVERLOADED', `${message}; retry later`), retryAfterS };
    this.#reject(connection, rejected, request.reject(rejected));
  }

  /** Comes first: an unauthenticated device must not cause any other work. */
  #authenticate(connection: Connection, pending: Pending, request: ConnectRequest): void {
    const onChecked = (checked: Verified | Rejection) => {
      if ('code' in checked) {
        return this.#reject(connection, checked, request.reject(checked));
      }
      const queryLabels = this.options.labels.readQuery(request.query.labels);
      if (typeof queryLabels !== 'string') {
        return this.#reject(connection, queryLabels, request.reject(queryLabels));
      }
      pending.admitted = { ...checked, queryLabels };
      this.#prepare(connection, pending, request);
    };
    const checking = this.#authentication.check(pending, request);
    if (checking instanceof Promise) this.#await(connection, pending, checking, onChecked);
    else onChecked(checking);
  }

  #prepare(connection: Connection, pending: Pending, request: ConnectRequest): void {
    const preparing = request.prepare?.(pending.admitted!);
    if (preparing === undefined) return this.#connect(connection, pending, request);
    this.#await(connection, pending, preparing, (rejected) => {
      if (rejected === undefined) this.#connect(connection, pending, request);
      else this.#reject(connection, rejected, request.reject(rejected));
    });
  }

  /** Continues with the result, unless the connection has closed or was rejected meanwhile. */
  #await<Result>(
    connection: Connection,
    pending: Pending,
    promise: Promise<Result>,
    onResult: (result: Result) => void,
  ): void {
    pending.stage = 'preparing';
    pending.sinceMs = performance.now();
    // Inserted again to keep the map ordered by age.
    this.#pending.delete(connection);
    this.#pending.set(connection, pending);
    void promise.then((result) => {
      if (this.#pending.get(connection) === pending) onResult(result);
    });
  }

  /** Handles bytes that arrive after the request and before its acceptance. */
  #onEarlyData(
    connection: Connection,
    pending: Pending,
    request: ConnectRequest,
    bytes: Buffer,
  ): void {
    const length = pending.bytes.length + bytes.length;
    if (request.acceptsEarlyData && length <= EARLY_DATA_BYTES_MAX) {
      pending.bytes = Buffer.concat([pending.bytes, bytes]);
      return;
    }
    const message = 'bytes arrived before the response; wait for it';
    const rejected = rejection('REQUEST_MALFORMED', message);
    this.#reject(connection, rejected, request.reject(rejected));
  }

  #timeoutRejection({ request }: Pending): Rejection {
    const seconds = this.options.config.headTimeoutMs / 1000;
    if (request !== undefined) {
      return rejection('NOT_READY', `the request could not be prepared within ${seconds} s; retry`);
    }
    return rejection('HEAD_TIMEOUT', `the request head was not complete within ${seconds} s`);
  }

  #connect(connection: Connection, pending: Pending, request: ConnectRequest): void {
    // Again, because the edge may have begun to drain meanwhile.
    if (this.#rejectLeaving(connection, pending, request)) return;
    const { table, shards, clients, blocks } = this.options;
    const { clientId } = request.query;
    const { issuedAtMs } = pending.admitted!;
    const blocked = blocks.reject(clientId, issuedAtMs, performance.now());
    if (blocked !== undefined) return this.#reject(connection, blocked, request.reject(blocked));
    const shard = shardOf(clientId, table.shardCount);
    const admission = this.#admit(pending, request);
    if (admission.type === 'redirect') {
      const { position } = this.options.assignment()!;
      const redirect = this.#redirect(request, pending, admission.owner, position);
      if (redirect !== undefined) {
        this.#counters.redirected.inc();
        return this.#respond(connection, redirect);
      }
      if (!shards.acceptsGuest(shard)) {
        const message = 'the edge serves too many shards of other edges; use a front proxy';
        const rejected = rejection('GUESTS_FULL', message);
        this.options.onTurnedAway(clientId);
        return this.#reject(connection, rejected, request.reject(rejected));
      }
    }
    const rejected = this.#capacityRejection(shard, clientId);
    if (rejected !== undefined) {
      this.options.onTurnedAway(clientId);
      return this.#reject(connection, rejected, request.reject(rejected));
    }
    this.#pending.delete(connection);
    clients.open(connection, shard, request, pending.admitted!, pending.bytes);
  }

  /** Encodes the redirect to the owner; undefined if the device would not follow it. */
  #redirect(
    request: ConnectRequest,
    { admitted }: Pending,
    owner: AssignedEdge,
    position: Position,
  ): Buffer | undefined {
    const { query } = request;
    // A ticket and not the token, which must not appear in a URL.
    const ticket = this.options.authenticator.issueTicket(query.clientId, admitted!);
    return request.redirect(connectUrl(owner.advertisedUrl, query, position, ticket));
  }

  #admit(pending: Pending, { query }: ConnectRequest): Admission {
    const { config, table, assignment } = this.options;
    const shard = shardOf(query.clientId, table.shardCount);
    const routedUnder = pending.frontedUnder ?? query.routedUnder;
    return admit(assignment(), config.edgeId, shard, routedUnder);
  }

  /**
   * Rejects a device that this edge would have to send away at once, before any work for it: its
   * session would only interrupt an older one, and the device would return in a loop. A front proxy
   * with an older assignment has the newer one by the time of the retry.
   * @returns whether the device was rejected
   */
  #rejectLeaving(connection: Connection, pending: Pending, request: ConnectRequest): boolean {
    const isFronted = this.options.peers.isFronted(connection);
    if (!this.isClosing && !this.rejectsGuests && !isFronted) return false;
    const isElsewhere = this.#admit(pending, request).type === 'redirect';
    if (isElsewhere && request.followsRedirects && !isFronted) return false;
    if (!this.isClosing && !isElsewhere) return false;
    const isStale = isFronted && isElsewhere;
    if (isStale) this.#counters.staleRoutes.inc();
    const retryAfterS = randomBetween(1, isStale ? RETRY_STALE_S_MAX : RETRY_AFTER_S_MAX);
    const message = 'this edge gives its clients to other edges; retry';
    const rejected = { ...rejection('NOT_READY', message), retryAfterS };
    this.options.onTurnedAway(request.query.clientId);
    this.#reject(connection, rejected, request.retryLater(rejected));
    return true;
  }

  #capacityRejection(shard: number, clientId: string): Rejection | undefined {
    const { table, config } = this.options;
    const { connectionsMax } = config;
    // A client that is registered here replaces its own connection, which may be long dead.
    if (table.count < connectionsMax || table.find(shard, clientId) !== undefined) return undefined;
    const message = `the edge is full: ${connectionsMax} connections are open; retry elsewhere`;
    return rejection('EDGE_FULL', message);
  }

  #reject(connection: Connection, { code }: Rejection, bytes: Buffer): void {
    this.#counters.rejected.inc({ code });
    this.#respond(connection, bytes);
  }

  #respond(connection: Connection, response: Buffer): void {
    const { transport } = this.options;
    this.#pending.delete(connection);
    transport.write(connection, response);
    transport.end(connection);
  }
}
