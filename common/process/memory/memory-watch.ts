/**
 * Notices that a process comes near to the end of its memory, so that it rejects work before the
 * kernel, or V8, ends it. It compares what is used with the limit of its control group, the limit
 * of its heap, and the memory of the machine. Garbage counts as used, so the watch has it collected
 * before it acts on a reading.
 */
import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';
import { type Logger, LogInterval } from '../log.js';
import type { Metrics } from '../metrics.js';
import { type GroupMemory, MemoryGroup } from './cgroup.js';
import { collectGarbage } from './collect-garbage.js';

const POLL_MS = 100;
/**
 * Interval at which freed memory outside the heap goes back to the system. Compilers and collectors
 * leave as much of it as they have used at most, in each of their threads.
 */
const TRIM_MS = 10_000;
const MIB = 1024 * 1024;
/** Memory is low when less than this share is left, or less than can arrive between two polls. */
const SHARE_MIN = 0.05;
const BYTES_MIN = 16 * MIB;
/** Memory that a request takes, as a multiple of its size: it is copied, and leaves garbage. */
const COPIES = 6;
/**
 * As much of it as this is taken only while the request is sent on: it waits for Redis, which may
 * be long after a reading has shown the rest as used.
 */
const SENT_COPIES = 2;
/** Share of freed memory that is used again: the rest is in pieces that are too small. */
const REUSED_SHARE = 0.5;
/** While memory is low, so much of the time at most goes into collections. */
const COLLECT_SHARE_MAX = 0.25;

/** One limit of the memory of a process. */
export interface MemoryLimit {
  readonly name: 'control group' | 'heap' | 'machine';
  readonly limitBytes: number;
  readonly usedBytes: number;
}

export class MemoryWatch {
  readonly #group = MemoryGroup.find();
  readonly #log = new LogInterval();
  readonly #timer: NodeJS.Timeout;
  #collectAtMs = 0;
  #trimAtMs = performance.now() + TRIM_MS;
  /** The largest number of bytes that buffers have used at a time. */
  #externalMax = 0;
  #outsideHeapAtFirst: number | undefined;
  #tightest: MemoryLimit;
  /** Bytes of requests that have arrived since the last reading. */
  #arrivedBytes = 0;
  /** Memory for messages that are arriving or being sent on, beyond what readings show. */
  #reservedBytes = 0;
  #isLow = false;

  /** @param trim gives freed memory of C++ back to the system */
  constructor(
    readonly log: Logger,
    metrics: Metrics,
    readonly trim: () => void,
  ) {
    this.#tightest = tightestOf(this.#limits());
    metrics.gauge(
      'longline_memory_available_bytes',
      'Bytes that the process may still use: of its control group, its heap or the machine, whichever has the smallest share left',
      () => this.#tightest.limitBytes - this.#tightest.usedBytes,
    );
    metrics.gauge(
      'longline_memory_low',
      'Whether the process rejects work because it is short of memory: 1 or 0',
      () => (this.#isLow ? 1 : 0),
    );
    this.#timer = setInterval(() => this.#poll(), POLL_MS).unref();
  }

  /** Whether new work is to be rejected. */
  get isLow(): boolean {
    return this.#isLow;
  }

  /**
   * Whether a request of this size can be sent on. If so, it keeps room until `endSend`. Many may
   * arrive between two readings.
   */
  beginSend(bytes: number): boolean {
    this.#arrivedBytes += (COPIES - SENT_COPIES) * bytes;
    return this.#reserve(SENT_COPIES * bytes);
  }

  endSend(bytes: number): void {
    this.#reservedBytes -= SENT_COPIES * bytes;
  }

  /** Keeps room for a message that is arriving, until `release`. Returns false if there is none. */
  reserve(bytes: number): boolean {
    return this.#reserve(COPIES * bytes);
  }

  release(bytes: number): void {
    this.#reservedBytes -= COPIES * bytes;
  }

  #reserve(memoryBytes: number): boolean {
    this.#reservedBytes += memoryBytes;
    if (this.#hasRoom()) return true;
    this.#reservedBytes -= memoryBytes;
    return false;
  }

  #hasRoom(): boolean {
    const isDue = this.#isLow ? this.#arrivedBytes > BYTES_MIN / 4 : this.#wouldBeLow();
    if (isDue) this.#poll();
    return !this.#isLow && !this.#wouldBeLow();
  }

  /** Unused share of the memory, 0 to 1. */
  get headroom(): number {
    return headroomOf(this.#tightest);
  }

  reasons(): string[] {
    return this.#isLow ? [`the process is short of memory: ${describe(this.#tightest)}`] : [];
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #poll(): void {
    const nowMs = performance.now();
    if (nowMs >= this.#trimAtMs) {
      this.trim();
      this.#trimAtMs = nowMs + TRIM_MS;
    }
    this.#tightest = tightestOf(this.#limits());
    this.#arrivedBytes = 0;
    if (isLow(this.#tightest) && nowMs >= this.#collectAtMs) {
      collectGarbage();
      this.trim();
      const endedMs = performance.now();
      this.#collectAtMs = endedMs + (endedMs - nowMs) / COLLECT_SHARE_MAX;
      this.#tightest = tightestOf(this.#limits());
    }
    const wasLow = this.#isLow;
    this.#isLow = isLow(this.#tightest);
    if (this.#isLow === wasLow || !this.#log.isDue(nowMs)) return;
    const memory = describe(this.#tightest);
    if (this.#isLow) this.log.warn({ memory }, 'short of memory: work is rejected');
    else this.log.info({ memory }, 'memory is available again');
  }

  #wouldBeLow(): boolean {
    const usedBytes = this.#tightest.usedBytes + this.#arrivedBytes + this.#reservedBytes;
    return isLow({ ...this.#tightest, usedBytes });
  }

  #limits(): MemoryLimit[] {
    const { rss, external } = process.memoryUsage();
    const heap = getHeapStatistics();
    const outsideHeap = rss - heap.total_physical_size;
    this.#outsideHeapAtFirst ??= outsideHeap;
    this.#externalMax = Math.max(this.#externalMax, external);
    const freed = Math.min(this.#externalMax - external, outsideHeap - this.#outsideHeapAtFirst);
    return limitsOf(this.#group?.read(), rss, Math.max(0, freed) * REUSED_SHARE, heap);
  }
}

/**
 * Memory of buffers that were freed stays with the allocator, and is used for the next ones.
 * @param freedBytes such memory
 */
export function limitsOf(
  group: GroupMemory | undefined,
  residentBytes: number,
  freedBytes: number,
  heap: { readonly heap_size_limit: number; readonly used_heap_size: number },
  machineBytes = totalmem(),
): MemoryLimit[] {
  const { heap_size_limit, used_heap_size } = heap;
  const limits: MemoryLimit[] = [
    { name: 'machine', limitBytes: machineBytes, usedBytes: residentBytes - freedBytes },
    { name: 'heap', limitBytes: heap_size_limit, usedBytes: used_heap_size },
  ];
  if (group !== undefined) {
    const { limitBytes, usedBytes } = group;
    limits.push({ name: 'control group', limitBytes, usedBytes: usedBytes - freedBytes });
  }
  return limits;
}

/** The limit with the smallest share left. */
export function tightestOf(limits: readonly MemoryLimit[]): MemoryLimit {
  return limits.reduce((a, b) => (headroomOf(b) < headroomOf(a) ? b : a));
}

export function headroomOf({ limitBytes, usedBytes }: MemoryLimit): number {
  return Math.min(1, Math.max(0, 1 - usedBytes / limitBytes));
}

export function isLow({ limitBytes, usedBytes }: MemoryLimit): boolean {
  return limitBytes - usedBytes < Math.max(BYTES_MIN, SHARE_MIN * limitBytes);
}

function describe({ name, limitBytes, usedBytes }: MemoryLimit): string {
  const [used, limit] = [usedBytes, limitBytes].map((bytes) => Math.round(bytes / MIB));
  return `${used} of the ${limit} MiB of its ${name} are used`;
}
