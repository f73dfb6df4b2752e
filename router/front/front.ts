/**
 * The front: one address for devices that can know only one. It reads as far as the clientId, whatever
 * the protocol, connects to the device port of the owner, says there for whom (PROXY protocol), passes
 * on the bytes that it has read, and joins the two connections in the transport. From then on it only
 * hears that they have ended.
 *
 * A device is `pending` until it has said who it is, in the waiting room until its owner is connected
 * to, then one end of a pipe. Only before that has it an object, with bounded bytes and a deadline.
 *
 * The front says nothing of its own to a device of a pipe: goaways are the edge's, which knows that the
 * device came through a front. When the edge is gone the connection just ends; the device comes again.
 */
import type { Counter } from 'prom-client';
import type { Assignment } from '../../common/cluster/assignment.js';
import { shardOf } from '../../common/cluster/shard.js';
import { anyAddress, type Endpoint, parseEndpoint } from '../../common/net/ip-address.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { Connection, Transport, TransportEvents } from '../../common/transport/transport.js';
import type { CorsOrigins } from '../../common/wire/cors.js';
import { frontTlv } from '../../common/wire/front-tlv.js';
import { ProxyGuard } from '../../common/wire/proxy-guard.js';
import { proxyHeader } from '../../common/wire/proxy-protocol.js';
import { FrontEdges, type Lookup } from './edges.js';
import { type Rejected, readIntroduction, rejectLate, rejectUnknown } from './handshake.js';
import { LetGo } from './paced-close.js';
import { type FrontPipe, FrontPipes } from './splices.js';
import {
  type Destination,
  type FrontDesk,
  type Visitor,
  WaitingRoom,
  type WaitingRoomConfig,
} from './upstream-dialer.js';

export interface FrontConfig extends WaitingRoomConfig {
  readonly devicesMax: number;
  readonly headBytesMax: number;
  readonly headTimeoutMs: number;
  readonly drainMs: number;
  readonly shardCount: number;
  readonly corsOrigins: CorsOrigins;
  readonly proxyNetworks: readonly string[];
}

/** A device that has not said yet who it is. */
interface Pending {
  readonly sinceMs: number;
  bytes: Buffer;
  /** Whether a PROXY header may still come first. */
  isAtStart: boolean;
  /** As a PROXY header says. */
  source: Endpoint | undefined;
}

/**
 * Why a pipe has ended. `ended` one of its ends did · `edge_gone` the edge is not of the cluster any
 * more · `left` the router is about to end.
 */
type PipeEnd = 'ended' | 'edge_gone' | 'left';

/** How often a step is made. */
export const FRONT_STEP_MS = 100;
/** Room for devices that are being told that the front is full. */
const REFUSALS_AT_ONCE_MAX = 128;

const NO_BYTES = Buffer.alloc(0);
/** One direction of a pipe has ended: the other has as long as an edge would give it. */
const LINGER_MS = 2_000;
/** The devices of an edge that is gone are let go over this time. */
const EDGE_GONE_OVER_MS = 2_000;

/** Sockets that a front needs at most. */
export function frontConnectionsMax(devicesMax: number): number {
  return 2 * devicesMax + REFUSALS_AT_ONCE_MAX;
}

export class Front implements TransportEvents, FrontDesk {
  /** Oldest first. */
  readonly #pending = new Map<Connection, Pending>();
  readonly #pipes = new FrontPipes();
  readonly #edges: FrontEdges;
  readonly #room: WaitingRoom;
  readonly #letGo = { edge_gone: new LetGo(), left: new LetGo() };
  readonly #proxies: ProxyGuard;
  readonly #rejected: Counter<'code'>;
  readonly #opened: Counter;
  readonly #ended: Counter<'reason'>;
  readonly #overLimit: Counter;
  #transport!: Transport;
  #isLeaving = false;

  constructor(
    readonly config: FrontConfig,
    assignment: () => Assignment | undefined,
    lookup: Lookup,
    metrics: Metrics,
  ) {
    this.#edges = new FrontEdges(lookup);
    this.#room = new WaitingRoom(config, assignment, this.#edges, this, metrics);
    this.#proxies = new ProxyGuard(config.proxyNetworks);
    this.#rejected = metrics.counter(
      'longline_router_front_rejected_total',
      'Devices that the front has rejected, by error code.',
      ['code'],
    );
    this.#opened = metrics.counter(
      'longline_router_front_opened_total',
      'Devices that the front has passed on to an edge.',
    );
    this.#ended = metrics.counter(
      'longline_router_front_closed_total',
      'Devices that were passed on and whose connection has ended, by reason.',
      ['reason'],
    );
    this.#overLimit = metrics.counter(
      'longline_router_front_over_limit_total',
      'Connections closed unheard because too many were open.',
    );
    metrics.gauge(
      'longline_router_front_devices',
      'Devices that are passed on to an edge.',
      () => this.#pipes.count,
    );
    metrics.gauge(
      'longline_router_front_pending',
      'Devices that have not said yet who they are, or whose edge is not connected to yet.',
      () => this.#pending.size + this.#room.size,
    );
    metrics.gauges(
      'longline_router_front_memory_bytes',
      'Where the memory of the connections of the front is, by part.',
      'part',
      () => Object.entries({ ...this.#transport.memory(), pipes: this.#pipes.bytes }),
    );
  }

  /** To be set once, before the port opens: the transport knows the front. */
  set transport(transport: Transport) {
    this.#transport = this.#room.transport = transport;
  }

  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  onOpen(connection: Connection): void {
    if (this.#room.onOpen(connection)) return;
    if (this.#isLeaving || this.#held >= this.config.devicesMax + REFUSALS_AT_ONCE_MAX) {
      // What is left of the bound is for connections to edges.
      this.#overLimit.inc();
      return this.#transport.destroy(connection);
    }
    const sinceMs = Date.now();
    const pending = { sinceMs, bytes: NO_BYTES, isAtStart: true, source: undefined };
    this.#pending.set(connection, pending);
  }

  /** From a device that is let go, nothing matters any more. */
  onBytes(connection: Connection, bytes: Buffer): void {
    const pending = this.#pending.get(connection);
    if (pending !== undefined) this.#read(connection, pending, bytes);
  }

  /** A FIN of one end of a pipe is passed on; any other ends the connection. */
  onEnd(connection: Connection): void {
    const pipe = this.#pipes.find(connection);
    if (pipe !== undefined) return this.#transport.setTimer(pipe.device, LINGER_MS);
    this.#pending.delete(connection);
    this.#transport.end(connection);
  }

  onClose(connection: Connection): void {
    if (this.#room.onClose(connection)) return;
    this.#pending.delete(connection);
    this.#room.leave(connection);
    this.#endPipe(this.#pipes.find(connection), 'ended');
  }

  onOverLimit(): void {
    this.#overLimit.inc();
  }

  onTimer(connection: Connection): void {
    this.#endPipe(this.#pipes.find(connection), 'ended');
  }

  /** Takes over a new assignment. */
  assign({ edges }: Assignment): void {
    for (const { number } of this.#edges.assign(edges)) {
      this.#letGo.edge_gone.add(Date.now(), this.#pipes.devicesOf(number), EDGE_GONE_OVER_MS);
    }
  }

  /** To be called every `FRONT_STEP_MS`. Returns whether the front has left, and is empty. */
  step(nowMs: number): boolean {
    const { headTimeoutMs } = this.config;
    for (const [device, { sinceMs, bytes }] of this.#pending) {
      if (sinceMs > nowMs - headTimeoutMs) break;
      const why = `the request head was not complete within ${headTimeoutMs / 1000} s`;
      this.#end(device, rejectLate(bytes, rejection('HEAD_TIMEOUT', why)));
    }
    this.#room.step(nowMs);
    for (const reason of ['edge_gone', 'left'] as const) {
      for (const device of this.#letGo[reason].take(nowMs)) {
        this.#endPipe(this.#pipes.find(device), reason);
      }
    }
    return this.#isLeaving && this.#pipes.count === 0;
  }

  /** Lets nobody in any more, and everybody go, over the time that is set for it. */
  leave(nowMs: number): void {
    this.#isLeaving = true;
    this.#transport.stopListening();
    const rejected = rejection('NOT_READY', 'this router is about to end; ask again');
    for (const [device] of this.#pending) this.#end(device, rejectUnknown(rejected));
    this.#room.rejectAll(rejected);
    this.#letGo.left.add(nowMs, this.#pipes.devicesOf(undefined), this.config.drainMs);
  }

  /** The edge is connected to: it is told who comes, and what the device has said. */
  passOn(device: Connection, upstream: Connection, destination: Destination): void {
    const { visitor, edge, sentUnder } = destination;
    // Where the device has connected to is of no interest to the edge.
    const header = proxyHeader(visitor.source, anyAddress(visitor.source), [frontTlv(sentUnder)]);
    this.#transport.write(upstream, Buffer.concat([header, visitor.bytes]));
    if (!this.#transport.pipe(device, upstream)) {
      // The device is gone, which is about to be told.
      return this.#transport.destroy(upstream);
    }
    this.#pipes.add(device, upstream, edge.number);
    edge.devices++;
    this.#opened.inc();
  }

  reject(device: Connection, { introduced }: Visitor, rejected: Rejection): void {
    this.#end(device, { type: 'rejected', rejected, bytes: introduced.reject(rejected) });
  }

  get #held(): number {
    return this.#pending.size + this.#room.size + this.#pipes.count;
  }

  #read(device: Connection, pending: Pending, bytes: Buffer): void {
    const { length } = pending.bytes;
    const all = length === 0 ? bytes : Buffer.concat([pending.bytes, bytes]);
    if (!pending.isAtStart) return this.#introduce(device, pending, all, length);
    const header = this.#proxies.read(all, () => this.#transport.remoteAddress(device));
    if (header === 'more') {
      // What is kept must not be the transport's buffer.
      pending.bytes = Buffer.from(all);
      return;
    }
    if (header !== 'none' && 'code' in header) return this.#end(device, rejectUnknown(header));
    pending.isAtStart = false;
    if (header === 'none') return this.#introduce(device, pending, all, 0);
    pending.source = header.source;
    pending.bytes = NO_BYTES;
    const rest = all.subarray(header.byteLength);
    if (rest.length > 0) this.#introduce(device, pending, rest, 0);
  }

  /** @param searched how many of the bytes an earlier call has seen */
  #introduce(device: Connection, pending: Pending, all: Buffer, searched: number): void {
    const { headBytesMax, devicesMax, corsOrigins, shardCount } = this.config;
    const introduced = readIntroduction(all, searched, headBytesMax, corsOrigins);
    const bytes = Buffer.from(all);
    if (introduced === 'more') {
      pending.bytes = bytes;
      return;
    }
    if (introduced.type === 'rejected') return this.#end(device, introduced);
    const peer = parseEndpoint(this.#transport.remoteAddress(device) ?? '');
    const source = pending.source ?? peer;
    // It is gone, which is about to be told.
    if (source === undefined) return;
    const shard = shardOf(introduced.clientId, shardCount);
    const visitor = { sinceMs: Date.now(), introduced, shard, source, bytes };
    if (this.#pipes.count + this.#room.size >= devicesMax) {
      const why = `the front holds ${devicesMax} devices and takes no more`;
      return this.reject(device, visitor, rejection('FRONT_FULL', why));
    }
    this.#pending.delete(device);
    // What else it sends waits with the kernel until it can be passed on.
    this.#transport.pause(device);
    this.#room.add(device, visitor);
  }

  #endPipe(pipe: FrontPipe | undefined, reason: PipeEnd): void {
    if (pipe === undefined) return;
    this.#pipes.remove(pipe);
    this.#edges.byNumber(pipe.edge).devices--;
    this.#ended.inc({ reason });
    this.#transport.end(pipe.device);
    this.#transport.end(pipe.upstream);
  }

  /** Ends a device that was not passed on. */
  #end(device: Connection, { rejected, bytes }: Rejected): void {
    this.#pending.delete(device);
    this.#rejected.inc({ code: rejected.code });
    this.#transport.write(device, bytes);
    this.#transport.end(device);
  }
}
