/**
 * Shards that are moving away from this edge. It stays subscribed until its clients of before are
 * gone, and a while longer: a push on its way to a device that has just left still finds it here.
 * Then it has released the shard, and says so for as long as the table has the move.
 *
 * A function of the table and of who is still here: an edge that was started anew in between holds
 * nobody, lingers, and releases. Pure.
 */

/** Longer than it takes a device to be at its new edge. */
export const LINGER_MS = 10_000;

interface Leaving {
  /** Since when nobody of before is left; undefined: somebody is. */
  quietSinceMs: number | undefined;
  isReleased: boolean;
}

export class HandingOver {
  #shards: ReadonlyMap<number, Leaving> = new Map();

  /** @param shards all that are moving away now */
  assign(shards: readonly number[]): void {
    const before = this.#shards;
    this.#shards = new Map(
      shards.map((shard) => {
        const leaving = before.get(shard) ?? { quietSinceMs: undefined, isReleased: false };
        return [shard, leaving] as const;
      }),
    );
  }

  /** Whether this edge stays subscribed to the shard for the sake of the move. */
  keeps(shard: number): boolean {
    return this.#shards.get(shard)?.isReleased === false;
  }

  /**
   * @param isAwaited whether clients of before are still here
   * @returns the shards that are released from now on
   */
  step(nowMs: number, isAwaited: (shard: number) => boolean): number[] {
    const released: number[] = [];
    for (const [shard, leaving] of this.#shards) {
      if (leaving.isReleased || isAwaited(shard)) continue;
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
