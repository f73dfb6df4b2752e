/**
 * The edge of a device. Usually that is the owner in the newest assignment. While the port of the
 * owner is closed, the answer waits: control is about to place its shards, and a device that is
 * sent to a dead port or to a third edge has to reconnect once more. After a while, the device is
 * sent to another edge as a guest; at once if too many answers wait.
 */
import type { Counter } from 'prom-client';
import { type AssignedEdge, type Assignment, ownerOf } from '../../common/cluster/assignment.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { Position } from '../../common/wire/position.js';
import { CHECK_INTERVAL_MS, type ClosedPorts } from './closed-ports.js';

export interface FoundEdge {
  readonly edge: AssignedEdge;
  /** Version of the assignment by which it was found. */
  readonly position: Position;
}

/** Reached only if no edge accepts connections. */
const WAIT_MS_MAX = 2_000;

export class EdgeLookup {
  readonly #guests: Counter;
  #waiting = 0;
  /** Resolves with the next assignment, or when the edges are due for another check. */
  #next: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;

  constructor(
    readonly assignment: () => Assignment | undefined,
    readonly closedPorts: ClosedPorts,
    /** Answers that may wait: each keeps a connection, of which the router has a bounded number. */
    readonly waitingMax: number,
    metrics: Metrics,
  ) {
    this.#guests = metrics.counter(
      'longline_router_lookups_guest_total',
      'Answers of /connect with another edge, because the port of the owner is closed',
    );
    metrics.gauge(
      'longline_router_lookups_waiting',
      'Requests to /connect that wait for a new owner, because the port of theirs is closed',
      () => this.#waiting,
    );
  }

  /** To be called after each new assignment. */
  onAssignment(): void {
    this.#next?.resolve();
  }

  /** Returns undefined if the shard has no owner. */
  find(shard: number): FoundEdge | undefined | Promise<FoundEdge | undefined> {
    const current = this.assignment();
    const edge = current && ownerOf(current, shard);
    if (edge === undefined) return undefined;
    if (!this.closedPorts.isDoubtful(edge)) return { edge, position: current!.position };
    if (this.#waiting < this.waitingMax) return this.#wait(shard);
    // Ports are only checked while devices wait.
    return this.#found(this.closedPorts.edgeFor(current!, shard, false)!, current!, shard);
  }

  async #wait(shard: number): Promise<FoundEdge | undefined> {
    const deadlineMs = performance.now() + WAIT_MS_MAX;
    this.#waiting++;
    try {
      for (;;) {
        const current = this.assignment();
        const edge = current && this.closedPorts.edgeFor(current, shard);
        if (edge === undefined) return undefined;
        const isReached =
          !this.closedPorts.isDoubtful(edge) || !(await this.closedPorts.check(edge));
        const isLate = performance.now() >= deadlineMs;
        if (isReached || isLate) return this.#found(edge, current!, shard);
        if (current === this.assignment()) await this.#nextChange();
      }
    } finally {
      this.#waiting--;
    }
  }

  #found(edge: AssignedEdge, current: Assignment, shard: number): FoundEdge {
    if (edge !== ownerOf(current, shard)) this.#guests.inc();
    return { edge, position: current.position };
  }

  #nextChange(): Promise<void> {
    if (this.#next !== undefined) return this.#next.promise;
    let resolve = () => {};
    const promise = new Promise<void>((onResolve) => {
      resolve = () => {
        this.#next = undefined;
        clearTimeout(timer);
        onResolve();
      };
    });
    const timer = setTimeout(() => resolve(), CHECK_INTERVAL_MS);
    this.#next = { promise, resolve };
    return promise;
  }
}
