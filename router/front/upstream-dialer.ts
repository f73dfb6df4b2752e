/**
 * Connects identified devices to their owner edges, with a bounded queue per edge. A device is
 * queued for the owner in the newest assignment: when the owner changes, a connect in progress is
 * dropped. A failed connect is retried, so that an edge that restarts in place is missed only
 * briefly. While the port of an owner is closed and it keeps its shards, its devices go to other
 * edges as guests. A device whose edge is not reached in time is rejected.
 */

import { isIP } from 'node:net';
import type { Counter } from 'prom-client';
import type { Assignment } from '../../common/cluster/assignment.js';
import type { Endpoint } from '../../common/net/ip-address.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { Connection, Transport } from '../../common/transport/transport.js';
import type { Position } from '../../common/wire/position.js';
import type { ClosedPorts } from '../lookup/closed-ports.js';
import type { FrontEdge, FrontEdges } from './edges.js';
import type { ConnectRequest } from './handshake.js';

export interface DialerConfig {
  /** From the connect request to an open connection to the owner. */
  readonly connectTimeoutMs: number;
  /** Bound of the queue of one edge. */
  readonly pendingMax: number;
  /** Addresses of the edge's IP family are used in rotation; none: the system chooses. */
  readonly sourceAddresses: readonly string[];
}

/** A device connection that was identified and is not connected to its edge yet. */
export interface PendingConnection {
  readonly identifiedAtMs: number;
  readonly request: ConnectRequest;
  readonly shard: number;
  readonly source: Endpoint;
  /** Resume ticket for the certificate of the device; undefined if it has sent none. */
  readonly ticket: string | undefined;
  /** Everything that the device has sent. */
  readonly bytes: Buffer;
}

/** The edge that a pending connection was connected to. */
export interface Upstream {
  readonly connection: Connection;
  readonly edge: FrontEdge;
  /** Version of the assignment in which the edge owns the shard. */
  readonly position: Position;
}

/** Receives the outcome for each device that was queued, exactly one of the two. */
export interface DialerEvents {
  onConnected(device: Connection, pending: PendingConnection, upstream: Upstream): void;
  onRejected(device: Connection, pending: PendingConnection, rejected: Rejection): void;
}

interface DialerOptions {
  readonly config: DialerConfig;
  readonly assignment: () => Assignment | undefined;
  readonly closedPorts: ClosedPorts;
  readonly edges: FrontEdges;
  readonly transport: Transport;
  readonly events: DialerEvents;
  readonly metrics: Metrics;
}

interface Queued {
  readonly pending: PendingConnection;
  /** The edge whose queue the device is in. */
  edge: FrontEdge | undefined;
  /** The connect in progress, and the assignment that it follows. */
  upstream: Connection | undefined;
  position: Position | undefined;
}

/** Delay after a failed connect to an edge. */
const RETRY_MS = 500;
/** Concurrent connects to one edge: below the length of its listen backlog. */
const CONNECTING_MAX = 512;

export class UpstreamDialer {
  /** By device, oldest first. */
  readonly #queued = new Map<Connection, Queued>();
  /** By connect in progress: its device. */
  readonly #devices = new Map<Connection, Connection>();
  readonly #options: DialerOptions;
  readonly #failures: Counter;
  /** Number of connects so far, for the rotation of source addresses. */
  #connects = 0;
  /** A device waits for the end of another connect to its edge. */
  #isLimited = false;

  constructor(options: DialerOptions) {
    this.#options = options;
    this.#failures = options.metrics.counter(
      'longline_router_front_connect_failures_total',
      'Failed connects to edges',
    );
  }

  /** Devices in all queues. */
  get size(): number {
    return this.#queued.size;
  }

  add(device: Connection, pending: PendingConnection): void {
    const queued = { pending, edge: undefined, upstream: undefined, position: undefined };
    this.#queued.set(device, queued);
    this.#connect(device, queued, pending.identifiedAtMs);
  }

  /** Retries connects and rejects devices at their deadline. Called every `FRONT_STEP_MS`. */
  step(nowMs: number): void {
    const { connectTimeoutMs } = this.#options.config;
    for (const [device, queued] of this.#queued) {
      if (queued.pending.identifiedAtMs > nowMs - connectTimeoutMs) {
        this.#connect(device, queued, nowMs);
      } else {
        const message = `the client's edge was unreachable for ${connectTimeoutMs} ms; retry later`;
        this.#reject(device, queued, rejection('EDGE_UNREACHABLE', message));
      }
    }
  }

  rejectAll(rejected: Rejection): void {
    for (const [device, queued] of this.#queued) this.#reject(device, queued, rejected);
  }

  /** Returns false for a connection that the dialer did not start. */
  onOpen(upstream: Connection): boolean {
    const device = this.#devices.get(upstream);
    if (device === undefined) return false;
    const queued = this.#queued.get(device)!;
    const { pending, edge, position } = queued;
    // From here on the connection belongs to the front.
    this.#finish(upstream, edge!);
    queued.upstream = undefined;
    this.remove(device);
    const connected = { connection: upstream, edge: edge!, position: position! };
    this.#options.events.onConnected(device, pending, connected);
    this.#connectLimited();
    return true;
  }

  /** Returns false for a connection that the dialer did not start. */
  onClose(upstream: Connection): boolean {
    const device = this.#devices.get(upstream);
    if (device === undefined) return false;
    const queued = this.#queued.get(device)!;
    this.#finish(upstream, queued.edge!);
    queued.upstream = undefined;
    this.#failures.inc();
    this.#options.closedPorts.connectFailed(queued.edge!.assigned);
    this.#options.edges.connectFailed(queued.edge!, performance.now() + RETRY_MS);
    return true;
  }

  /** Removes a device that is forwarded, rejected or disconnected. */
  remove(device: Connection): void {
    const queued = this.#queued.get(device);
    if (queued === undefined) return;
    this.#queued.delete(device);
    this.#leaveQueue(queued);
  }

  /**
   * Starts to connect to the current owner, or to the edge that stands in for it, unless that is in
   * progress or not possible yet.
   */
  #connect(device: Connection, queued: Queued, nowMs: number): void {
    const { config, edges, transport } = this.#options;
    const { shard } = queued.pending;
    const assignment = this.#options.assignment();
    const target = assignment && this.#options.closedPorts.edgeFor(assignment, shard);
    if (target === undefined) {
      const message = `shard ${shard} has no owner now; retry later`;
      return this.#reject(device, queued, rejection('NO_EDGE', message));
    }
    const edge = edges.get(target);
    if (queued.edge !== edge) {
      this.#leaveQueue(queued);
      if (edge.queued >= config.pendingMax) {
        const message = `${edge.queued} devices are pending for edge ${target.id}; retry later`;
        return this.#reject(device, queued, rejection('OVERLOADED', message));
      }
      queued.edge = edge;
      edge.queued++;
    }
    const ip = edge.ips[edge.ipIndex % edge.ips.length];
    if (queued.upstream !== undefined || ip === undefined) return;
    if (nowMs < edge.retryAtMs) return;
    if (edge.connecting >= CONNECTING_MAX) {
      this.#isLimited = true;
      return;
    }
    const sources = config.sourceAddresses.filter((source) => isIP(source) === isIP(ip));
    const source = sources[this.#connects++ % sources.length] ?? '';
    const upstream = transport.connect(ip, edge.port, source);
    if (upstream === undefined) {
      const message = 'the front has no free connection to the edge; retry later';
      return this.#reject(device, queued, rejection('FRONT_FULL', message));
    }
    queued.upstream = upstream;
    queued.position = assignment!.position;
    edge.connecting++;
    this.#devices.set(upstream, device);
  }

  /** At the end of the turn, in which more connects may end. */
  #connectLimited(): void {
    if (!this.#isLimited) return;
    this.#isLimited = false;
    setImmediate(() => this.step(performance.now()));
  }

  /** Ends the bookkeeping of a connect in progress. */
  #finish(upstream: Connection, edge: FrontEdge): void {
    this.#devices.delete(upstream);
    edge.connecting--;
  }

  #leaveQueue(queued: Queued): void {
    const { edge, upstream } = queued;
    if (edge === undefined) return;
    edge.queued--;
    queued.edge = queued.upstream = undefined;
    if (upstream === undefined) return;
    this.#finish(upstream, edge);
    this.#options.transport.destroy(upstream);
  }

  #reject(device: Connection, { pending }: Queued, rejected: Rejection): void {
    this.remove(device);
    this.#options.events.onRejected(device, pending, rejected);
  }
}
