/**
 * The clocks of the Redis masters, seen from this process: an id of a push is a time of its master,
 * whose clock may differ from this machine's. Each id or time that arrives from Redis shows the
 * difference; the newest one of a shard counts. Pure.
 */
/** The time that is compared may have arrived faster than the newest one, by this much. */
const LATENCY_MS_MAX = 10_000;

export class RedisClocks {
  /** By shard: time of the monotonic clock minus time of Redis, in ms; NaN: nothing has arrived. */
  readonly #differences: Float64Array;

  constructor(shardCount: number) {
    this.#differences = new Float64Array(shardCount).fill(Number.NaN);
  }

  /** @param redisMs a time of Redis that arrives now */
  observe(shard: number, redisMs: number, nowMs: number): void {
    this.#differences[shard] = nowMs - redisMs;
  }

  /**
   * Milliseconds since a time of Redis. Infinity: unknown, also for a time in the future, as after
   * the clock of Redis was set back.
   */
  elapsedMs(shard: number, redisMs: number, nowMs: number): number {
    const elapsedMs = nowMs - redisMs - this.#differences[shard]!;
    return elapsedMs >= -LATENCY_MS_MAX ? elapsedMs : Number.POSITIVE_INFINITY;
  }
}
