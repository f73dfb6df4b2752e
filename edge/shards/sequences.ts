/**
 * Detects lost pushes: Redis pub/sub drops messages silently. Every durable push of a shard carries
 * the next number of that shard, so a gap shows with the push after it. A lost last push shows when
 * the shard's counter in Redis stays ahead of the received numbers. Pure.
 */
export class Sequences {
  /** By shard: number of the newest received push; NaN: unknown. */
  readonly #last: Float64Array;
  /** By shard: counter at the last poll if it was ahead of the received numbers; otherwise NaN. */
  readonly #ahead: Float64Array;
  /**
   * By shard: the highest numbers of pushes and of counters that were received. They outlive a
   * subscription: a number below them always means that Redis has lost writes.
   */
  readonly #highestPush: Float64Array;
  readonly #highestCounter: Float64Array;

  constructor(shardCount: number) {
    this.#last = new Float64Array(shardCount).fill(Number.NaN);
    this.#ahead = new Float64Array(shardCount).fill(Number.NaN);
    this.#highestPush = new Float64Array(shardCount);
    this.#highestCounter = new Float64Array(shardCount);
  }

  /** The subscription was lost: later numbers prove nothing about what was missed meanwhile. */
  forget(shard: number): void {
    this.#last[shard] = this.#ahead[shard] = Number.NaN;
  }

  /** The highest number that Redis has assigned as far as this edge knows; 0: none. */
  highest(shard: number): number {
    return Math.max(this.#highestPush[shard]!, this.#highestCounter[shard]!);
  }

  /**
   * Whether Redis has lost writes if this push arrives. Only compared with earlier pushes: the reply
   * with the counter comes over another connection and may overtake them.
   */
  provesLoss(shard: number, seq: number): boolean {
    return seq <= this.#highestPush[shard]!;
  }

  /** Redis has lost writes, and assigns numbers after `seq` again. */
  restart(shard: number, seq: number): void {
    this.#highestPush[shard] = this.#highestCounter[shard] = seq;
  }

  /** Records a received push. Returns false if an earlier push is missing. */
  onPush(shard: number, seq: number): boolean {
    const last = this.#last[shard]!;
    this.#last[shard] = this.#highestPush[shard] = seq;
    // A lower number is a gap too: Redis has lost writes and assigns the numbers again.
    return Number.isNaN(last) || seq === last + 1;
  }

  /**
   * Records the shard's counter. Returns false if it was ahead at the previous poll already and the
   * pushes up to there have still not arrived: a single poll could overtake a push in flight.
   */
  onCounter(shard: number, counter: number): boolean {
    const last = this.#last[shard]!;
    this.#highestCounter[shard] = counter;
    if (Number.isNaN(last)) {
      this.#last[shard] = counter;
      return true;
    }
    const isLost = last < this.#ahead[shard]!;
    if (isLost) this.#last[shard] = this.#ahead[shard]!;
    this.#ahead[shard] = counter > this.#last[shard]! ? counter : Number.NaN;
    return !isLost;
  }
}
