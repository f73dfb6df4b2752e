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

  constructor(shardCount: number) {
    this.#last = new Float64Array(shardCount).fill(Number.NaN);
    this.#ahead = new Float64Array(shardCount).fill(Number.NaN);
  }

  /** The subscription was lost: later numbers prove nothing about what was missed meanwhile. */
  forget(shard: number): void {
    this.#last[shard] = this.#ahead[shard] = Number.NaN;
  }

  /** Records a received push. Returns false if an earlier push is missing. */
  onPush(shard: number, seq: number): boolean {
    const last = this.#last[shard]!;
    this.#last[shard] = seq;
    // A lower number is a gap too: Redis has lost writes and assigns the numbers again.
    return Number.isNaN(last) || seq === last + 1;
  }

  /**
   * Records the shard's counter. Returns false if it was ahead at the previous poll already and the
   * pushes up to there have still not arrived: a single poll could overtake a push in flight.
   */
  onCounter(shard: number, counter: number): boolean {
    const last = this.#last[shard]!;
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
