/** How hard an edge works, as far as control wants to know. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Reports may follow each other closely: what is measured over less time than this is noise. */
const WINDOW_MS = 1_000;

/** Pushes a second that reached clients, by shard. Pure. */
export class MessageRates {
  readonly #counts: Uint32Array;
  readonly #perSecond: Float32Array;

  constructor(
    readonly shardCount: number,
    private sinceMs: number,
  ) {
    this.#counts = new Uint32Array(shardCount);
    this.#perSecond = new Float32Array(shardCount);
  }

  count(shard: number, messages: number): void {
    this.#counts[shard]! += messages;
  }

  /** Over the time since the last call, or as it was then if that was just now. */
  read(nowMs: number): Float32Array {
    const passedMs = nowMs - this.sinceMs;
    if (passedMs < WINDOW_MS) return this.#perSecond;
    for (let shard = 0; shard < this.shardCount; shard++) {
      this.#perSecond[shard] = (this.#counts[shard]! * 1_000) / passedMs;
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
