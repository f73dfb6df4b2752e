/** Pushes whose confirmation this edge has written to Redis, and their age then. */
import type { Histogram } from 'prom-client';
import { parseMessageId } from '../../common/cluster/inbox.js';
import { ShardTotals } from '../../common/cluster/ledger/shard-totals.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { LatencyTotal } from '../../proto/gen/longline/v1/assignment.js';

/** Upper bounds, in seconds. */
const BUCKETS = [0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3_600, 21_600, 86_400];

export class ConfirmedPushes {
  readonly totals: ShardTotals;
  readonly #seconds: Histogram;
  /** One for each bucket, and one for what is above the last. */
  readonly #counts = new Array<number>(BUCKETS.length + 1).fill(0);

  /** @param elapsedMs milliseconds since a time of Redis; Infinity: unknown */
  constructor(
    shardCount: number,
    readonly elapsedMs: (shard: number, redisMs: number, nowMs: number) => number,
    metrics: Metrics,
  ) {
    this.totals = new ShardTotals(shardCount);
    this.#seconds = metrics.histogram(
      'longline_edge_confirmation_seconds',
      'Seconds from storing a push until its confirmation is in Redis, of the newest push of each confirmation',
      BUCKETS,
    );
  }

  /**
   * @param count pushes of one client that a confirmation has covered
   * @param newestId of the newest one
   */
  add(shard: number, count: number, newestId: string): void {
    if (count === 0) return;
    this.totals.add(shard, count);
    const [redisMs] = parseMessageId(newestId);
    const seconds = Math.max(0, this.elapsedMs(shard, redisMs, performance.now())) / 1_000;
    if (seconds === Number.POSITIVE_INFINITY) return;
    this.#seconds.observe(seconds);
    const bucket = BUCKETS.findIndex((bound) => seconds <= bound);
    this.#counts[bucket < 0 ? BUCKETS.length : bucket]!++;
  }

  latencies(): LatencyTotal[] {
    return this.#counts.map((pushes, i) => ({
      seconds: BUCKETS[i] ?? Number.POSITIVE_INFINITY,
      pushes,
    }));
  }
}
