/**
 * The front proxy: one address for devices that can be configured with only one. It reads a
 * device's first bytes up to the clientId, in any protocol, connects to the device port of the
 * owner edge, sends a PROXY header and the bytes that it has read, and splices the two connections
 * in the transport. From then on it only learns that they have ended.
 *
 * A device connection is `unidentified` until its connect request is complete, then queued in the
 * upstream dialer until its edge is connected, then one end of a splice. Only the first two states
 * cost an object, with bounded bytes and a deadline.
 *
 * The front sends nothing of its own into a splice: the edge, which knows that the device connected
 * through a front, sends the GOAWAY. When the edge is gone the connection closes and the device
 * reconnects.
 */
import type { Counter } from 'prom-client';
import type { Authenticator } from '../../common/auth/authenticator.js';
import {
  checkDeviceCertificate,
  type DeviceCertificate,
  readDeviceCertificate,
} from '../../common/auth/certificates.js';
import type { Assignment } from '../../common/cluster/assignment.js';
import { shardOf } from '../../common/cluster/shard.js';
import { type Endpoint, parseEndpoint, unspecifiedAddress } from '../../common/net/ip-address.js';
import type { AllowedOrigins } from '../../common/net/origin.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { MemoryWatch } from '../../common/process/memory/memory-watch.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { TlsFiles } from '../../common/transport/tls-identity.js';
import type { Connection, Transport, TransportEvents } from '../../common/transport/transport.js';
import { frontTlv, ticketTlv, UPGRADED_TLV } from '../../common/wire/front-tlv.js';
import { ProxyGuard } from '../../common/wire/proxy-guard.js';
import { proxyHeader } from '../../common/wire/proxy-protocol.js';
import type { MqttOpeningReader } from '../../common/wire/websocket/mqtt-opening.js';
import type { ClosedPorts } from '../lookup/closed-ports.js';
import { FrontEdges, type ResolveHost } from './edges.js';
import {
  type ConnectRequest,
  type RejectedRequest,
  readConnectRequest,
  readMqttFrames,
  rejectIncomplete,
  rejectUnknownProtocol,
} from './handshake.js';
import { PacedClose } from './paced-close.js';
import { type Splice, Splices } from './splices.js';
import {
  type DialerConfig,
  type DialerEvents,
  type PendingConnection,
  type Upstream,
  UpstreamDialer,
} from './upstream-dialer.js';

export interface FrontConfig extends DialerConfig {
  readonly devicesMax: number;
  readonly headBytesMax: number;
  readonly headTimeoutMs: number;
  readonly drainMs: number;
  readonly shardCount: number;
  readonly corsOrigins: AllowedOrigins;
  readonly mqttPaths: readonly string[];
  readonly proxyNetworks: readonly string[];
  /** Undefined: devices connect without TLS. */
  readonly tls: TlsFiles | undefined;
}

interface FrontOptions {
  readonly config: FrontConfig;
  readonly assignment: () => Assignment | undefined;
  readonly closedPorts: ClosedPorts;
  /** Issues resume tickets to devices with a certificate. */
  readonly authenticator: Pick<Authenticator, 'issueTicket'>;
  /** While it is low, new devices are rejected. */
  readonly memory: Pick<MemoryWatch, 'isLow'>;
  readonly resolveHost: ResolveHost;
  /** Called once, by the constructor. */
  readonly openTransport: (events: TransportEvents) => Transport;
  readonly metrics: Metrics;
}

/** A device connection whose clientId is not known yet. */
interface Unidentified {
  readonly acceptedAtMs: number;
  bytes: Buffer;
  /** Whether a PROXY header, and then TLS, may still come first. */
  isAtStart: boolean;
  /** Client address in the PROXY header, if there was one. */
  source: Endpoint | undefined;
  /** Set before other bytes if the device has sent one. */
  certificate: DeviceCertificate | undefined;
  /** Set when the upgrade to MQTT over a WebSocket was answered. */
  opening: MqttOpeningReader | undefined;
}

/**
 * Reason for the end of a splice. `ended` one of its ends closed · `edge_gone` the edge is no
 * longer in the assignment · `shutdown` the router is draining.
 */
type SpliceEnd = 'ended' | 'edge_gone' | 'shutdown';

/** Interval of `step`. */
export const FRONT_STEP_MS = 100;
/** Connections beyond the bound that are open only to send FRONT_FULL. */
const REJECTIONS_AT_ONCE_MAX = 128;

const NO_BYTES = Buffer.alloc(0);
/** After a FIN in one direction: time for the other, as on an edge. */
const LINGER_MS = 2_000;
/** Devices of an edge that left the assignment are closed over this period. */
const EDGE_GONE_CLOSE_MS = 2_000;

/** Maximum number of sockets that a front uses. */
export function frontConnectionsMax(devicesMax: number): number {
  return 2 * devicesMax + REJECTIONS_AT_ONCE_MAX;
}

export class Front implements TransportEvents, DialerEvents {
  readonly transport: Transport;
  readonly #config: FrontConfig;
  readonly #authenticator: FrontOptions['authenticator'];
  readonly #memory: FrontOptions['memory'];
  /** Oldest first. */
  readonly #unidentified = new Map<Connection, Unidentified>();
  readonly #splices = new Splices();
  readonly #edges: FrontEdges;
  readonly #dialer: UpstreamDialer;
  readonly #closing = { edge_gone: new PacedClose(), shutdown: new PacedClose() };
  readonly #proxies: ProxyGuard;
  readonly #rejected: Counter<'code'>;
  readonly #opened: Counter;
  readonly #closed: Counter<'reason'>;
  readonly #overLimit: Counter;
  #isDraining = false;

  constructor({
    config,
    assignment,
    closedPorts,
    authenticator,
    memory,
    resolveHost,
    openTransport,
    metrics,
  }: FrontOptions) {
    this.#config = config;
    this.#authenticator = authenticator;
    this.#memory = memory;
    this.transport = openTransport(this);
    this.#edges = new FrontEdges(resolveHost);
    this.#dialer = new UpstreamDialer({
      config,
      assignment,
      closedPorts,
      edges: this.#edges,
      transport: this.transport,
      events: this,
      metrics,
    });
    this.#proxies = new ProxyGuard(config.proxyNetworks);
    this.#rejected = metrics.counter(
      'longline_router_front_rejected_total',
      'Devices rejected by the front, by error code',
      ['code'],
    );
    this.#opened = metrics.counter(
      'longline_router_front_opened_total',
      'Devices forwarded to an edge',
    );
    this.#closed = metrics.counter(
      'longline_router_front_closed_total',
      'Forwarded devices whose connection has closed, by reason: ended (by either side), ' +
        'edge_gone (its edge has left the cluster) or shutdown (of the router)',
      ['reason'],
    );
    this.#overLimit = metrics.counter(
      'longline_router_front_over_limit_total',
      'Connections closed without an answer because too many were open',
    );
    this.#addGauges(metrics);
  }

  #addGauges(metrics: Metrics): void {
    metrics.gauge(
      'longline_router_front_devices',
      'Devices that are forwarded to an edge',
      () => this.#splices.count,
    );
    metrics.gauge(
      'longline_router_front_pending',
      'Devices whose clientId is not read yet or whose edge is not connected yet',
      () => this.#unidentified.size + this.#dialer.size,
    );
    metrics.gauges(
      'longline_router_front_memory_bytes',
      'Memory of the connections of the front, by part: slots, send_buffers, tls_1.2, tls_1.3 or splices',
      'part',
      () => this.#memoryParts(),
    );
    metrics.gauges(
      'longline_router_front_tls_connections',
      'TLS connections of devices to the front, by version: 1.2 or 1.3',
      'version',
      () => this.transport.tlsConnections(),
    );
    metrics.total(
      'longline_router_front_accept_pauses_total',
      'Pauses of half a second in accepting because the system had run out of descriptors',
      () => this.transport.acceptPauses(),
    );
  }

  /** With the names of the parts of an edge. */
  #memoryParts(): [string, number][] {
    const { slots, sendBuffers, tls12, tls13 } = this.transport.memory();
    return [
      ['slots', slots],
      ['send_buffers', sendBuffers],
      ['tls_1.2', tls12],
      ['tls_1.3', tls13],
      ['splices', this.#splices.bytes],
    ];
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  onOpen(connection: Connection): void {
    if (this.#dialer.onOpen(connection)) return;
    if (this.#isDraining) {
      this.#overLimit.inc();
      return this.transport.destroy(connection);
    }
    this.#unidentified.set(connection, {
      acceptedAtMs: performance.now(),
      bytes: NO_BYTES,
      isAtStart: true,
      source: undefined,
      certificate: undefined,
      opening: undefined,
    });
    this.#dropOverLimit();
  }

  /**
   * The rest of the transport's connections is reserved for upstreams. The oldest unidentified
   * connection makes room, so that silent ones do not keep devices out.
   */
  #dropOverLimit(): void {
    if (this.#deviceCount <= this.#config.devicesMax + REJECTIONS_AT_ONCE_MAX) return;
    const [oldest] = this.#unidentified.keys();
    this.#unidentified.delete(oldest!);
    this.#overLimit.inc();
    this.transport.destroy(oldest!);
  }

  /** Bytes from a device that is being disconnected are ignored. */
  onBytes(connection: Connection, bytes: Buffer): void {
    const unidentified = this.#unidentified.get(connection);
    if (unidentified !== undefined) this.#read(connection, unidentified, bytes);
  }

  onClientCertificate(device: Connection, certificate: Buffer): void {
    const unidentified = this.#unidentified.get(device);
    if (unidentified !== undefined) unidentified.certificate = readDeviceCertificate(certificate);
  }

  /** The transport forwards a FIN within a splice; a FIN before that ends the connection. */
  onEnd(connection: Connection): void {
    const splice = this.#splices.find(connection);
    if (splice !== undefined) return this.transport.setTimer(splice.device, LINGER_MS);
    this.#unidentified.delete(connection);
    this.transport.end(connection);
  }

  onClose(connection: Connection): void {
    if (this.#dialer.onClose(connection)) return;
    this.#unidentified.delete(connection);
    this.#dialer.remove(connection);
    this.#endSplice(this.#splices.find(connection), 'ended');
  }

  onOverLimit(): void {
    this.#overLimit.inc();
  }

  onTimer(connection: Connection): void {
    this.#endSplice(this.#splices.find(connection), 'ended');
  }

  /** Applies a new assignment. */
  assign({ edges }: Assignment): void {
    for (const { number } of this.#edges.assign(edges)) {
      const devices = this.#splices.devicesOf(number);
      this.#closing.edge_gone.add(performance.now(), devices, EDGE_GONE_CLOSE_MS);
    }
    // Devices that wait for an edge that is gone need not wait for the next step.
    this.#dialer.step(performance.now());
  }

  /** Called every `FRONT_STEP_MS`. Returns true when a drain is complete. */
  step(nowMs: number): boolean {
    const { headTimeoutMs, corsOrigins } = this.#config;
    for (const [device, { acceptedAtMs, bytes, opening }] of this.#unidentified) {
      if (acceptedAtMs > nowMs - headTimeoutMs) break;
      const message = `the request head was not complete within ${headTimeoutMs / 1000} s`;
      const rejected = rejection('HEAD_TIMEOUT', message);
      this.#end(device, rejectIncomplete(rejected, bytes, corsOrigins, opening !== undefined));
    }
    this.#dialer.step(nowMs);
    for (const reason of ['edge_gone', 'shutdown'] as const) {
      for (const device of this.#closing[reason].take(nowMs)) {
        this.#endSplice(this.#splices.find(device), reason);
      }
    }
    return this.#isDraining && this.#splices.count === 0;
  }

  /** Stops accepting, rejects pending devices and closes the others over `drainMs`. */
  drain(nowMs: number): void {
    this.#isDraining = true;
    this.transport.stopListening();
    const rejected = rejection('NOT_READY', 'this router is shutting down; retry');
    const { corsOrigins } = this.#config;
    for (const [device, { bytes, opening }] of this.#unidentified) {
      this.#end(device, rejectIncomplete(rejected, bytes, corsOrigins, opening !== undefined));
    }
    this.#dialer.rejectAll(rejected);
    this.#closing.shutdown.add(nowMs, this.#splices.devicesOf(undefined), this.#config.drainMs);
  }

  onConnected(device: Connection, pending: PendingConnection, upstream: Upstream): void {
    const { connection, edge, position } = upstream;
    // The edge does not use the address that the device has connected to.
    const tlvs = [
      frontTlv(position),
      ...(pending.request.isUpgraded ? [UPGRADED_TLV] : []),
      ...(pending.ticket === undefined ? [] : [ticketTlv(pending.ticket)]),
    ];
    const header = proxyHeader(pending.source, unspecifiedAddress(pending.source), tlvs);
    this.transport.write(connection, Buffer.concat([header, pending.bytes]));
    if (!this.transport.pipe(device, connection)) {
      // The device has closed: its onClose follows.
      return this.transport.destroy(connection);
    }
    this.#splices.add(device, connection, edge.number);
    edge.devices++;
    this.#opened.inc();
  }

  onRejected(device: Connection, { request }: PendingConnection, rejected: Rejection): void {
    this.#end(device, { type: 'rejected', rejected, bytes: request.reject(rejected) });
  }

  get #deviceCount(): number {
    return this.#unidentified.size + this.#dialer.size + this.#splices.count;
  }

  #read(device: Connection, unidentified: Unidentified, bytes: Buffer): void {
    const { length } = unidentified.bytes;
    const all = length === 0 ? bytes : Buffer.concat([unidentified.bytes, bytes]);
    if (!unidentified.isAtStart) return this.#identify(device, unidentified, all, length);
    const header = this.#proxies.read(all, () => this.transport.remoteAddress(device));
    if (header === 'more') {
      // A copy, as `all` may be the transport's buffer.
      unidentified.bytes = Buffer.from(all);
      return;
    }
    if (header !== 'none' && 'code' in header) {
      return this.#end(device, rejectUnknownProtocol(header, all, this.#config.corsOrigins));
    }
    unidentified.isAtStart = false;
    if (header === 'none') return this.#start(device, unidentified, all);
    unidentified.source = header.source;
    this.#start(device, unidentified, all.subarray(header.byteLength));
  }

  /** Starts TLS behind the place of a PROXY header. */
  #start(device: Connection, unidentified: Unidentified, bytes: Buffer): void {
    unidentified.bytes = NO_BYTES;
    if (this.#config.tls?.startsPlain) this.transport.secure(device, bytes);
    else if (bytes.length > 0) this.#identify(device, unidentified, bytes, 0);
  }

  /** @param searched number of these bytes that an earlier call has searched */
  #identify(device: Connection, unidentified: Unidentified, all: Buffer, searched: number): void {
    const { opening } = unidentified;
    const request =
      opening === undefined
        ? readConnectRequest(all, searched, this.#config)
        : readMqttFrames(opening, all.subarray(searched));
    const bytes = Buffer.from(all);
    unidentified.bytes = bytes;
    if (request === 'more') return;
    if (request.type === 'closed') return this.#respond(device, request.bytes);
    if (request.type === 'rejected') return this.#end(device, request);
    if (request.type === 'upgraded') {
      unidentified.opening = request.opening;
      this.transport.write(device, request.response);
      if (request.rest.length === 0) return;
      return this.#identify(device, unidentified, bytes, bytes.length - request.rest.length);
    }
    this.#dial(device, unidentified, request, bytes);
  }

  #dial(
    device: Connection,
    unidentified: Unidentified,
    request: ConnectRequest,
    bytes: Buffer,
  ): void {
    const { devicesMax, shardCount } = this.#config;
    const peer = parseEndpoint(this.transport.remoteAddress(device) ?? '');
    const source = unidentified.source ?? peer;
    // The device has closed: its onClose follows.
    if (source === undefined) return;
    const shard = shardOf(request.clientId, shardCount);
    const verified =
      unidentified.certificate &&
      checkDeviceCertificate(unidentified.certificate, request.clientId);
    const isVerified = verified !== undefined && !('code' in verified);
    const ticket = isVerified
      ? this.#authenticator.issueTicket(request.clientId, verified)
      : undefined;
    const pending = { identifiedAtMs: performance.now(), request, shard, source, ticket, bytes };
    if (verified !== undefined && !isVerified) return this.onRejected(device, pending, verified);
    if (this.#splices.count + this.#dialer.size >= devicesMax) {
      const message = `the front has ${devicesMax} devices, its maximum; retry later`;
      return this.onRejected(device, pending, rejection('FRONT_FULL', message));
    }
    if (this.#memory.isLow) {
      const message = 'the front is short of memory; retry later';
      return this.onRejected(device, pending, rejection('OVERLOADED', message));
    }
    this.#unidentified.delete(device);
    // Further bytes stay in the kernel until they can be forwarded.
    this.transport.pause(device);
    this.#dialer.add(device, pending);
  }

  #endSplice(splice: Splice | undefined, reason: SpliceEnd): void {
    if (splice === undefined) return;
    this.#splices.remove(splice);
    this.#edges.byNumber(splice.edge).devices--;
    this.#closed.inc({ reason });
    this.transport.end(splice.device);
    this.transport.end(splice.upstream);
  }

  /** Rejects a device that was not forwarded. */
  #end(device: Connection, { rejected, bytes }: RejectedRequest): void {
    this.#rejected.inc({ code: rejected.code });
    this.#respond(device, bytes);
  }

  /** Ends a device whose request is complete, or will not be. */
  #respond(device: Connection, bytes: Buffer): void {
    this.#unidentified.delete(device);
    this.transport.write(device, bytes);
    this.transport.end(device);
  }
}
