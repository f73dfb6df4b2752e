/**
 * Who is to be told to go: the clients of the shards that this edge has lost, in the order in which
 * it lost them, and then, when the edge is to be empty, everybody else. Pure.
 *
 * Only those stand in it who were here when the shard was lost. Whoever comes later was sent here
 * by somebody who knew, and is served. A connection that ends by itself is not taken out: its
 * number is never used again, so whoever comes across it finds it gone.
 */
import type { Connection } from '../../common/transport/transport.js';

export class GoawayQueue {
  readonly #byShard = new Map<number, Connection[]>();
  #others: Connection[] = [];

  /** @param isHere whether a connection still holds a client */
  constructor(readonly isHere: (connection: Connection) => boolean) {}

  /** The shard was lost, and these are its clients. */
  lose(shard: number, connections: Iterable<Connection>): void {
    this.#byShard.set(shard, [...connections]);
  }

  /** The shard is ours again: its clients are where they belong. */
  regain(shard: number): void {
    this.#byShard.delete(shard);
  }

  /** The lost shards of which somebody may be left. */
  shards(): number[] {
    return [...this.#byShard.keys()];
  }

  /** Everybody is to go; after those of lost shards. */
  loseAll(connections: Iterable<Connection>): void {
    this.#others = [...connections];
  }

  /** Whoever is of no lost shard may stay. */
  keepOthers(): void {
    this.#others.length = 0;
  }

  /** Whether clients of before are left of a lost shard. */
  isAwaited(shard: number): boolean {
    const waiting = this.#byShard.get(shard);
    if (waiting === undefined) return false;
    if (this.#dropGone(waiting)) return true;
    this.#byShard.delete(shard);
    return false;
  }

  get isEmpty(): boolean {
    for (const shard of this.#byShard.keys()) if (this.isAwaited(shard)) return false;
    return !this.#dropGone(this.#others);
  }

  /** Takes out the next to go, if anybody is left. */
  take(): Connection | undefined {
    for (const shard of this.#byShard.keys()) {
      if (this.isAwaited(shard)) return this.#byShard.get(shard)!.pop();
    }
    return this.#dropGone(this.#others) ? this.#others.pop() : undefined;
  }

  /** How many are waiting. */
  count(): number {
    const waiting = new Set(this.#others);
    for (const ofShard of this.#byShard.values()) {
      for (const connection of ofShard) waiting.add(connection);
    }
    let count = 0;
    for (const connection of waiting) if (this.isHere(connection)) count++;
    return count;
  }

  /** Until the last one is here. Returns false when nobody is. */
  #dropGone(waiting: Connection[]): boolean {
    while (waiting.length > 0 && !this.isHere(waiting.at(-1)!)) waiting.pop();
    return waiting.length > 0;
  }
}
