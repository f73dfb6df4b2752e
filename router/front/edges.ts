/**
 * The edges as a front sees them: where their device ports are, how many devices it has there, how
 * many wait for them, and whether connecting to them has just failed. One entry per process and
 * address of an edge, for as long as the assignment has it or a device is connected to it.
 */
import { isIP } from 'node:net';
import type { AssignedEdge } from '../../common/cluster/assignment.js';
import { type HostPort, hostPortOf, parseHostPort } from '../../common/net/host-port.js';

/** Resolves with the addresses of a host, the best one first. */
export type Lookup = (host: string) => Promise<readonly string[]>;

export interface FrontEdge extends HostPort {
  readonly edgeId: string;
  /** Below 65535, and of no other edge at the same time. */
  readonly number: number;
  /** Empty while they are being looked up. */
  ips: readonly string[];
  /** Which of them is used. */
  ipAt: number;
  /** Devices that are passed on to it. */
  devices: number;
  /** Devices that are to be passed on to it. */
  waiting: number;
  /** Those of them for which a connection is under way. */
  connecting: number;
  /** Not to be tried before, as it has just failed. Unix time in milliseconds. */
  notBeforeMs: number;
}

export class FrontEdges {
  /** By id, process and address. */
  readonly #byKey = new Map<string, FrontEdge>();
  readonly #byNumber: (FrontEdge | undefined)[] = [];

  constructor(readonly lookup: Lookup) {}

  /** Returns the ones that have devices and are in the assignment no more. */
  assign(edges: readonly AssignedEdge[]): FrontEdge[] {
    const assigned = new Set(edges.map((edge) => this.of(edge)));
    const gone = [...this.#byKey].filter(([, edge]) => !assigned.has(edge));
    for (const [key, { devices, waiting, number }] of gone) {
      if (devices > 0 || waiting > 0) continue;
      this.#byKey.delete(key);
      this.#byNumber[number] = undefined;
    }
    return gone.map(([, edge]) => edge).filter(({ devices }) => devices > 0);
  }

  of({ id, incarnation, advertisedUrl, frontAddress }: AssignedEdge): FrontEdge {
    const key = `${id} ${incarnation} ${frontAddress ?? advertisedUrl}`;
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const named = frontAddress === undefined ? undefined : parseHostPort(frontAddress);
    const free = this.#byNumber.indexOf(undefined);
    const edge: FrontEdge = {
      ...(named ?? hostPortOf(advertisedUrl)),
      edgeId: id,
      number: free < 0 ? this.#byNumber.length : free,
      ips: [],
      ipAt: 0,
      devices: 0,
      waiting: 0,
      connecting: 0,
      notBeforeMs: 0,
    };
    this.#byKey.set(key, edge);
    this.#byNumber[edge.number] = edge;
    this.#lookUp(edge);
    return edge;
  }

  /** Only for one that has devices. */
  byNumber(number: number): FrontEdge {
    return this.#byNumber[number]!;
  }

  /** Connecting to it did not succeed: next time another of its addresses, of those it has by then. */
  failed(edge: FrontEdge, notBeforeMs: number): void {
    edge.notBeforeMs = notBeforeMs;
    edge.ipAt++;
    this.#lookUp(edge);
  }

  #lookUp(edge: FrontEdge): void {
    if (isIP(edge.host) !== 0) {
      edge.ips = [edge.host];
      return;
    }
    this.lookup(edge.host).then(
      (ips) => {
        edge.ips = ips;
      },
      // One without an address is one that cannot be reached, which whoever waits for it is told.
      () => {},
    );
  }
}
