/**
 * Redis pub/sub drops silently. Every durable push of a shard carries the next number of that
 * shard, so a hole shows with the push after it, and a lost last push shows when the shard's counter
 * is read and stays ahead of what came. Pure.
 */
export class Sequences {
  /** By shard: the number of the newest push that came; NaN: not known. */
  readonly #last: Float64Array;
  /** By shard: the counter at the last look, while it was ahead of what had come; else NaN. */
  readonly #ahead: Float64Array;

  constructor(shardCount: number) {
    this.#last = new Float64Array(shardCount).fill(Number.NaN);
    this.#ahead = new Float64Array(shardCount).fill(Number.NaN);
  }

  /** The subscription was lost: what comes next proves nothing about what was missed. */
  forget(shard: number): void {
    this.#last[shard] = this.#ahead[shard] = Number.NaN;
  }

  /** A push came. Returns false when one before it did not: the shard has a gap. */
  onPush(shard: number, seq: number): boolean {
    const last = this.#last[shard]!;
    this.#last[shard] = seq;
    // A lower number is a gap too: Redis has lost writes, and counts them again.
    return Number.isNaN(last) || seq === last + 1;
  }

  /**
   * The shard's counter was read. Returns false when it was ahead at the last look already and what
   * it counted has still not come: one look alone could overtake a push that is on its way.
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
