/**
 * The edges as upstreams of a front: the address of the device port, the number of devices
 * forwarded and pending, and the time of the next attempt after a failed connect. There is one
 * entry per process and address of an edge, for as long as the assignment lists it or devices use
 * it.
 */
import { isIP } from 'node:net';
import type { AssignedEdge } from '../../common/cluster/assignment.js';
import { devicePortOf } from '../../common/cluster/edge-address.js';
import type { HostPort } from '../../common/net/host-port.js';

/** Resolves with the IP addresses of a host, the preferred one first. */
export type ResolveHost = (host: string) => Promise<readonly string[]>;

export interface FrontEdge extends HostPort {
  readonly assigned: AssignedEdge;
  /** Below 65535, and unique among the current entries. */
  readonly number: number;
  /** Empty until the host name is resolved. */
  ips: readonly string[];
  /** Index of the address in use, modulo the number of addresses. */
  ipIndex: number;
  /** Devices that are forwarded to this edge. */
  devices: number;
  /** Devices in the queue for this edge. */
  queued: number;
  /** Connects to this edge in progress. */
  connecting: number;
  /** Time of the next attempt after a failed connect, in ms of the monotonic clock. */
  retryAtMs: number;
}

export class FrontEdges {
  /** By id, process and address. */
  readonly #byKey = new Map<string, FrontEdge>();
  readonly #byNumber: (FrontEdge | undefined)[] = [];

  constructor(readonly resolveHost: ResolveHost) {}

  /** Returns the edges that have devices and are no longer in the assignment. */
  assign(edges: readonly AssignedEdge[]): FrontEdge[] {
    const assigned = new Set(edges.map((edge) => this.get(edge)));
    const gone = [...this.#byKey].filter(([, edge]) => !assigned.has(edge));
    for (const [key, { devices, queued, number }] of gone) {
      if (devices > 0 || queued > 0) continue;
      this.#byKey.delete(key);
      this.#byNumber[number] = undefined;
    }
    return gone.map(([, edge]) => edge).filter(({ devices }) => devices > 0);
  }

  /** Returns the entry of an edge, and creates it if there is none. */
  get(assigned: AssignedEdge): FrontEdge {
    const { id, incarnation, advertisedUrl, frontAddress } = assigned;
    const key = `${id} ${incarnation} ${frontAddress ?? advertisedUrl}`;
    const existing = this.#byKey.get(key);
    if (existing !== undefined) return existing;
    const free = this.#byNumber.indexOf(undefined);
    const edge: FrontEdge = {
      ...devicePortOf(assigned),
      assigned,
      number: free < 0 ? this.#byNumber.length : free,
      ips: [],
      ipIndex: 0,
      devices: 0,
      queued: 0,
      connecting: 0,
      retryAtMs: 0,
    };
    this.#byKey.set(key, edge);
    this.#byNumber[edge.number] = edge;
    this.#resolve(edge);
    return edge;
  }

  /** Requires that the edge has devices. */
  byNumber(number: number): FrontEdge {
    return this.#byNumber[number]!;
  }

  /** Records a failed connect: the next attempt uses the next address of a fresh DNS answer. */
  connectFailed(edge: FrontEdge, retryAtMs: number): void {
    edge.retryAtMs = retryAtMs;
    edge.ipIndex++;
    this.#resolve(edge);
  }

  #resolve(edge: FrontEdge): void {
    if (isIP(edge.host) !== 0) {
      edge.ips = [edge.host];
      return;
    }
    this.resolveHost(edge.host).then(
      (ips) => {
        edge.ips = ips;
      },
      // An unresolved edge is unreachable: its pending devices are rejected at their deadline.
      () => {},
    );
  }
}
