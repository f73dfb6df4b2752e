/**
 * Connections that will receive a goaway: the clients of lost shards, in the order in which the
 * shards were lost, and then, when the edge is to become empty, all others. Pure.
 *
 * The queue contains only clients that were connected when the shard was lost. A client that
 * connects later was sent here under the newer assignment, and is served. A connection that ends by
 * itself stays in the queue: its number is never reused, so it is skipped when its turn comes.
 */
import type { Connection } from '../../common/transport/transport.js';

export class GoawayQueue {
  readonly #byShard = new Map<number, Connection[]>();
  #others: Connection[] = [];

  /** @param isOpen whether a connection is still registered */
  constructor(readonly isOpen: (connection: Connection) => boolean) {}

  /** Adds the clients of a shard that was lost. */
  addShard(shard: number, connections: Iterable<Connection>): void {
    this.#byShard.set(shard, [...connections]);
  }

  /** Removes the clients of a shard that this edge owns again. */
  removeShard(shard: number): void {
    this.#byShard.delete(shard);
  }

  /** Lost shards that may still have queued clients. */
  shards(): number[] {
    return [...this.#byShard.keys()];
  }

  /** Adds all other clients, after those of lost shards. */
  addOthers(connections: Iterable<Connection>): void {
    this.#others = [...connections];
  }

  /** Removes the clients of shards that were not lost. */
  removeOthers(): void {
    this.#others.length = 0;
  }

  /** Whether queued clients of a lost shard are still connected. */
  hasRemaining(shard: number): boolean {
    const queued = this.#byShard.get(shard);
    if (queued === undefined) return false;
    if (this.#trim(queued)) return true;
    this.#byShard.delete(shard);
    return false;
  }

  get isEmpty(): boolean {
    for (const shard of this.#byShard.keys()) if (this.hasRemaining(shard)) return false;
    return !this.#trim(this.#others);
  }

  /** Removes and returns the next connection; undefined if the queue is empty. */
  take(): Connection | undefined {
    for (const shard of this.#byShard.keys()) {
      if (this.hasRemaining(shard)) return this.#byShard.get(shard)!.pop();
    }
    return this.#trim(this.#others) ? this.#others.pop() : undefined;
  }

  /** Number of queued clients that are still connected. */
  count(): number {
    const queued = new Set(this.#others);
    for (const ofShard of this.#byShard.values()) {
      for (const connection of ofShard) queued.add(connection);
    }
    let count = 0;
    for (const connection of queued) if (this.isOpen(connection)) count++;
    return count;
  }

  /** Removes closed connections from the end. Returns false if none remains. */
  #trim(queued: Connection[]): boolean {
    while (queued.length > 0 && !this.isOpen(queued.at(-1)!)) queued.pop();
    return queued.length > 0;
  }
}
