/**
 * Pushes that a process has counted, by shard, for the ledger of control. Totals since its start.
 */
import type { ShardTotals as WireTotals } from '../../../proto/gen/longline/v1/assignment.js';

export class ShardTotals {
  readonly #pushes: Float64Array;
  #unanswered = 0;

  constructor(shardCount: number) {
    this.#pushes = new Float64Array(shardCount);
  }

  add(shard: number, count: number): void {
    this.#pushes[shard]! += count;
  }

  /** Redis has not answered in time: what it has counted is not known. */
  onUnanswered(): void {
    this.#unanswered++;
  }

  read(): WireTotals {
    const shards: number[] = [];
    const pushes: number[] = [];
    for (const [shard, count] of this.#pushes.entries()) {
      if (count === 0) continue;
      shards.push(shard);
      pushes.push(count);
    }
    return { shards, pushes, unanswered: this.#unanswered };
  }
}
