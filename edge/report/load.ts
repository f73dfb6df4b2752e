/** How hard an edge works, as far as control wants to know. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Reports may follow each other closely: what is measured over less time than this is noise. */
const WINDOW_MS = 1_000;

/**
 * Rates are smoothed over about so long. Two seconds hold a push to this shard by chance and none to
 * that one: a control that believed them would move the lucky ones, and find them as idle as the rest.
 */
const SMOOTHING_MS = 60_000;

/** Pushes a second that reached clients, by shard, over about the last minute. Pure. */
export class MessageRates {
  readonly #counts: Uint32Array;
  /** Of the past, each moment of it weighing less the longer ago it is. */
  readonly #smoothed: Float32Array;
  readonly #perSecond: Float32Array;
  /** What all of the past weighs: less than 1 as long as there is not much of it. */
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
  }

  /** As it was at the last call, if that was just now. */
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

/** How late the event loop is, 99th percentile since the last report. */
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
    // What is measured is from one tick to the next: the time between them is not lag.
    const betweenMs = this.#delays.percentile(99) / 1e6;
    this.#lagMs = Math.max(0, betweenMs - LAG_RESOLUTION_MS);
    this.#delays.reset();
    this.#sinceMs = nowMs;
    return this.#lagMs;
  }
}

/**
 * The share of its memory that a process has not used, 0 to 1.
 * @param limitBytes of its control group; 0 or absurdly large: there is none
 */
export function memoryHeadroom(
  residentBytes: number,
  limitBytes: number,
  machineBytes: number,
): number {
  const bytes = limitBytes > 0 ? Math.min(limitBytes, machineBytes) : machineBytes;
  return Math.max(0, 1 - residentBytes / bytes);
}
