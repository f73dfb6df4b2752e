/** Load of an edge, as control uses it. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Reports may follow each other closely: a measurement over less time than this is noise. */
const WINDOW_MS = 1_000;

/**
 * Time constant of the smoothing of rates. Within two seconds, one shard gets a push by chance and
 * another gets none: if control used such rates, it would move the former for nothing.
 */
const SMOOTHING_MS = 60_000;

/** Pushes per second that were written to clients, by shard, over about the last minute. Pure. */
export class MessageRates {
  readonly #counts: Uint32Array;
  /** Exponential moving average: the older a moment, the lower its weight. */
  readonly #smoothed: Float32Array;
  readonly #perSecond: Float32Array;
  #written = 0;
  /** Weight of all measured time: below 1 until enough has passed. */
  #weight = 0;

  constructor(
    readonly shardCount: number,
    private sinceMs: number,
  ) {
    this.#counts = new Uint32Array(shardCount);
    this.#smoothed = new Float32Array(shardCount);
    this.#perSecond = new Float32Array(shardCount);
  }

  count(shard: number, messages: number): void {
    this.#counts[shard]! += messages;
    this.#written += messages;
  }

  /** Pushes of all shards until now. */
  get written(): number {
    return this.#written;
  }

  /** Returns the rates by shard; within `WINDOW_MS` of the last measurement, the same again. */
  read(nowMs: number): Float32Array {
    const passedMs = nowMs - this.sinceMs;
    if (passedMs < WINDOW_MS) return this.#perSecond;
    const share = 1 - Math.exp(-passedMs / SMOOTHING_MS);
    this.#weight += share * (1 - this.#weight);
    for (let shard = 0; shard < this.shardCount; shard++) {
      const perSecond = (this.#counts[shard]! * 1_000) / passedMs;
      this.#smoothed[shard]! += share * (perSecond - this.#smoothed[shard]!);
      this.#perSecond[shard] = this.#smoothed[shard]! / this.#weight;
    }
    this.#counts.fill(0);
    this.sinceMs = nowMs;
    return this.#perSecond;
  }
}

const LAG_RESOLUTION_MS = 10;

/** Event loop lag in milliseconds, 99th percentile since the last report. */
export class EventLoopLag {
  readonly #delays = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  #lagMs = 0;
  #sinceMs = performance.now();

  constructor() {
    this.#delays.enable();
  }

  read(): number {
    const nowMs = performance.now();
    if (nowMs - this.#sinceMs < WINDOW_MS) return this.#lagMs;
    // The histogram contains the time from tick to tick; the regular interval is not lag.
    const betweenMs = this.#delays.percentile(99) / 1e6;
    this.#lagMs = Math.max(0, betweenMs - LAG_RESOLUTION_MS);
    this.#delays.reset();
    this.#sinceMs = nowMs;
    return this.#lagMs;
  }
}
