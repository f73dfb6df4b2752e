/**
 * The devices of a front whose owner is not connected to yet. Each waits for the owner that the newest
 * assignment names: a connection to another one that is under way is given up. An edge that cannot be
 * reached is tried again, so that one that is started again in its place is missed only shortly; a
 * device that has waited for too long is rejected.
 */
import { isIP } from 'node:net';
import type { Counter } from 'prom-client';
import { type Assignment, ownerOf, type Position } from '../../common/cluster/assignment.js';
import type { Endpoint } from '../../common/net/ip-address.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { Connection, Transport } from '../../common/transport/transport.js';
import type { FrontEdge, FrontEdges } from './edges.js';
import type { Introduced } from './handshake.js';

export interface WaitingRoomConfig {
  /** From the introduction to a connection to the owner. */
  readonly connectTimeoutMs: number;
  /** Devices that wait for one edge; more are rejected. */
  readonly waitingMax: number;
  /** Of those of the edge's family each is used in its turn; none: the system chooses. */
  readonly sourceAddresses: readonly string[];
}

/** A device that has said who it is. */
export interface Visitor {
  readonly sinceMs: number;
  readonly introduced: Introduced;
  readonly shard: number;
  readonly source: Endpoint;
  /** All that it has sent. */
  readonly bytes: Buffer;
}

/** What the room asks of its front. */
export interface FrontDesk {
  passOn(device: Connection, upstream: Connection, destination: Destination): void;
  reject(device: Connection, visitor: Visitor, rejected: Rejection): void;
}

/** A visitor on its way. */
export interface Destination {
  readonly visitor: Visitor;
  readonly edge: FrontEdge;
  /** The assignment that says so. */
  readonly sentUnder: Position;
}

interface Waiting {
  readonly visitor: Visitor;
  /** That it waits for. */
  edge: FrontEdge | undefined;
  /** The connection to it that is under way, and under which assignment. */
  upstream: Connection | undefined;
  sentUnder: Position | undefined;
}

/** An edge that could not be reached is left alone for so long. */
const TRY_AGAIN_MS = 500;
/** Connections to one edge that are under way at the same time: less than its backlog takes. */
const CONNECTING_MAX = 512;

export class WaitingRoom {
  /** Oldest first. */
  readonly #waiting = new Map<Connection, Waiting>();
  /** The device for which a connection is under way. */
  readonly #devices = new Map<Connection, Connection>();
  readonly #failed: Counter;
  /** How many connections were begun. */
  #begun = 0;
  /** Set once, before the first device. */
  transport!: Transport;

  constructor(
    readonly config: WaitingRoomConfig,
    readonly assignment: () => Assignment | undefined,
    readonly edges: FrontEdges,
    readonly desk: FrontDesk,
    metrics: Metrics,
  ) {
    this.#failed = metrics.counter(
      'longline_router_front_connect_failures_total',
      'Connections to edges that did not come about.',
    );
  }

  get size(): number {
    return this.#waiting.size;
  }

  add(device: Connection, visitor: Visitor): void {
    const waiting = { visitor, edge: undefined, upstream: undefined, sentUnder: undefined };
    this.#waiting.set(device, waiting);
    this.#connect(device, waiting, visitor.sinceMs);
  }

  /** To be called often. */
  step(nowMs: number): void {
    const { connectTimeoutMs } = this.config;
    for (const [device, waiting] of this.#waiting) {
      if (waiting.visitor.sinceMs > nowMs - connectTimeoutMs) {
        this.#connect(device, waiting, nowMs);
      } else {
        const why = `the edge of this client could not be reached within ${connectTimeoutMs} ms`;
        this.#reject(device, waiting, rejection('EDGE_UNREACHABLE', why));
      }
    }
  }

  rejectAll(rejected: Rejection): void {
    for (const [device, waiting] of this.#waiting) this.#reject(device, waiting, rejected);
  }

  /** Returns false for a connection that is not to an edge. */
  onOpen(upstream: Connection): boolean {
    const device = this.#devices.get(upstream);
    if (device === undefined) return false;
    const { visitor, edge, sentUnder } = this.#waiting.get(device)!;
    const destination = { visitor, edge: edge!, sentUnder: sentUnder! };
    // It is the front's from now on.
    this.#settle(upstream, edge!);
    this.#waiting.get(device)!.upstream = undefined;
    this.leave(device);
    this.desk.passOn(device, upstream, destination);
    return true;
  }

  /** The same for one that is gone. */
  onClose(upstream: Connection): boolean {
    const device = this.#devices.get(upstream);
    if (device === undefined) return false;
    const waiting = this.#waiting.get(device)!;
    this.#settle(upstream, waiting.edge!);
    waiting.upstream = undefined;
    this.#failed.inc();
    this.edges.failed(waiting.edge!, Date.now() + TRY_AGAIN_MS);
    return true;
  }

  /** A device is served, rejected or gone. */
  leave(device: Connection): void {
    const waiting = this.#waiting.get(device);
    if (waiting === undefined) return;
    this.#waiting.delete(device);
    this.#giveUp(waiting);
  }

  /** Sees to it that the owner is being connected to, as far as that is possible now. */
  #connect(device: Connection, waiting: Waiting, nowMs: number): void {
    const { shard } = waiting.visitor;
    const assignment = this.assignment();
    const owner = assignment && ownerOf(assignment, shard);
    if (owner === undefined) {
      const why = `no edge owns shard ${shard} at the moment`;
      return this.#reject(device, waiting, rejection('NO_EDGE', why));
    }
    const edge = this.edges.of(owner);
    if (waiting.edge !== edge) {
      this.#giveUp(waiting);
      if (edge.waiting >= this.config.waitingMax) {
        const why = `${edge.waiting} devices wait for edge ${owner.id} already`;
        return this.#reject(device, waiting, rejection('OVERLOADED', why));
      }
      waiting.edge = edge;
      edge.waiting++;
    }
    const ip = edge.ips[edge.ipAt % edge.ips.length];
    if (waiting.upstream !== undefined || ip === undefined) return;
    if (edge.connecting >= CONNECTING_MAX || nowMs < edge.notBeforeMs) return;
    const sources = this.config.sourceAddresses.filter((source) => isIP(source) === isIP(ip));
    const source = sources[this.#begun++ % sources.length] ?? '';
    const upstream = this.transport.connect(ip, edge.port, source);
    if (upstream === undefined) {
      const why = 'no connection to the edge could be opened';
      return this.#reject(device, waiting, rejection('FRONT_FULL', why));
    }
    waiting.upstream = upstream;
    waiting.sentUnder = assignment!.position;
    edge.connecting++;
    this.#devices.set(upstream, device);
  }

  /** A connection is under way no more. */
  #settle(upstream: Connection, edge: FrontEdge): void {
    this.#devices.delete(upstream);
    edge.connecting--;
  }

  #giveUp(waiting: Waiting): void {
    const { edge, upstream } = waiting;
    if (edge === undefined) return;
    edge.waiting--;
    waiting.edge = waiting.upstream = undefined;
    if (upstream === undefined) return;
    this.#settle(upstream, edge);
    this.transport.destroy(upstream);
  }

  #reject(device: Connection, { visitor }: Waiting, rejected: Rejection): void {
    this.leave(device);
    this.desk.reject(device, visitor, rejected);
  }
}
