/**
 * Shards that are moving away from this edge. It stays subscribed until the clients from before the
 * move are gone, and `LINGER_MS` longer: a push in flight to a device that has just left still
 * reaches this edge. Then the shard is released, and reported so while the assignment has the move.
 *
 * The state follows from the assignment and the connected clients: an edge that restarts in between
 * has no clients, lingers, and releases. Pure.
 */

/** Longer than a device needs to reach its new edge. */
export const LINGER_MS = 10_000;

interface Leaving {
  /** Since when no client from before is left; undefined: some are. */
  quietSinceMs: number | undefined;
  isReleased: boolean;
}

export class HandingOver {
  #shards: ReadonlyMap<number, Leaving> = new Map();

  /** @param shards all shards that are moving away now */
  assign(shards: readonly number[]): void {
    const before = this.#shards;
    this.#shards = new Map(
      shards.map((shard) => {
        const leaving = before.get(shard) ?? { quietSinceMs: undefined, isReleased: false };
        return [shard, leaving] as const;
      }),
    );
  }

  /** Whether the move requires that this edge stays subscribed to the shard. */
  needsSubscription(shard: number): boolean {
    return this.#shards.get(shard)?.isReleased === false;
  }

  /**
   * @param hasRemaining whether clients from before the move are still connected
   * @returns the shards that are released from now on
   */
  step(nowMs: number, hasRemaining: (shard: number) => boolean): number[] {
    const released: number[] = [];
    for (const [shard, leaving] of this.#shards) {
      if (leaving.isReleased || hasRemaining(shard)) continue;
      leaving.quietSinceMs ??= nowMs;
      if (nowMs < leaving.quietSinceMs + LINGER_MS) continue;
      leaving.isReleased = true;
      released.push(shard);
    }
    return released;
  }

  get count(): number {
    return this.#shards.size;
  }

  released(): number[] {
    return [...this.#shards].filter(([, { isReleased }]) => isReleased).map(([shard]) => shard);
  }
}
