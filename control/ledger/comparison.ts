/**
 * Compares, for each shard, a counter of the scripts in Redis with the sum of what processes
 * report. Pure: times are arguments.
 *
 * The counter of a shard is the sum plus a number that only changes when a process starts or ends:
 * what was counted before, or never reported. That number is not known, because the counter and the
 * reports are read at different times, but each reading bounds it:
 *
 * - Redis counts before a process does. So a counter is at least the number and the sum that was
 *   known when it was read: the difference is an upper bound.
 * - A process that reports `SETTLED_MS` after a counter was read has counted everything that is in
 *   it. So when all have, the difference is a lower bound.
 *
 * If a new upper bound is below the lower one, Redis has lost what processes have counted. If a new
 * lower bound is above the upper one, Redis has counted what no process has. Traffic only makes the
 * bounds wider, so no difference is ever false, and each shows when its shard is quiet for some
 * seconds.
 *
 * What a process counts before its first report and after its last one is not known, nor whether a
 * call without an answer was counted: any of these lifts the upper bounds.
 */

/**
 * By then a call of Redis has ended and was counted, and a process that has started has reported.
 */
export const SETTLED_MS = 15_000;
/** A process that does not report for this time has ended. */
export const SILENT_MS = 30_000;
/** Processes that are known; more are not counted. */
const PROCESSES_MAX = 5_000;

/** Columns of shards and their totals since the start of the process. */
export interface Totals {
  readonly shards: readonly number[];
  readonly pushes: readonly number[];
  readonly unanswered: number;
}

/** Processes are trusted, but may be of another version. */
export function isPlausible({ shards, pushes, unanswered }: Totals, shardCount: number): boolean {
  const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0;
  return (
    shards.length === pushes.length &&
    shards.every((shard) => isCount(shard) && shard < shardCount) &&
    pushes.every(isCount) &&
    isCount(unanswered)
  );
}

interface Process {
  readonly totals: Map<number, number>;
  unanswered: number;
  heardAtMs: number;
}

export class Comparison {
  /** By shard: what processes have counted since their first reports. */
  readonly #sums: Float64Array;
  readonly #lower: Float64Array;
  readonly #upper: Float64Array;
  readonly #processes = new Map<string, Process>();
  /** Counters that become lower bounds when all processes have reported; not set for each shard. */
  readonly #readings: Float64Array;
  /** When they were read; Infinity: there is none. */
  readonly #readAtMs: Float64Array;
  /** Counters that were read before it are no upper bounds. */
  #liftedAtMs = Number.NEGATIVE_INFINITY;

  constructor(shardCount: number) {
    this.#sums = new Float64Array(shardCount);
    this.#lower = new Float64Array(shardCount).fill(Number.NEGATIVE_INFINITY);
    this.#upper = new Float64Array(shardCount).fill(Number.POSITIVE_INFINITY);
    this.#readings = new Float64Array(shardCount);
    this.#readAtMs = new Float64Array(shardCount).fill(Number.POSITIVE_INFINITY);
  }

  get processCount(): number {
    return this.#processes.size;
  }

  /** To be passed with the counter that is read next. */
  sumOf(shard: number): number {
    return this.#sums[shard]!;
  }

  onReport(incarnation: string, { shards, pushes, unanswered }: Totals, nowMs: number): void {
    const known = this.#processes.get(incarnation);
    if (known === undefined && this.#processes.size >= PROCESSES_MAX) return;
    if (unanswered !== known?.unanswered) this.lift(nowMs);
    const totals = known?.totals ?? new Map<number, number>();
    for (let i = 0; i < shards.length; i++) {
      const shard = shards[i]!;
      const total = pushes[i]!;
      const added = total - (totals.get(shard) ?? 0);
      if (added === 0) continue;
      if (known !== undefined && added > 0) this.#sums[shard]! += added;
      totals.set(shard, total);
    }
    this.#processes.set(incarnation, { totals, unanswered, heardAtMs: nowMs });
  }

  /**
   * A counter was read. Returns how much of what processes have counted Redis has lost.
   * @param sum of the shard when the counter was requested, at `sentAtMs`
   */
  onCounter(shard: number, counter: number, sum: number, sentAtMs: number, nowMs: number): number {
    if (this.#readAtMs[shard] === Number.POSITIVE_INFINITY) {
      this.#readings[shard] = counter;
      this.#readAtMs[shard] = nowMs;
    }
    if (sentAtMs <= this.#liftedAtMs) return 0;
    const upper = Math.min(this.#upper[shard]!, counter - sum);
    const lower = Math.min(this.#lower[shard]!, upper);
    const lost = Math.max(0, this.#lower[shard]! - upper);
    this.#upper[shard] = upper;
    this.#lower[shard] = lower;
    // An earlier counter has what was lost.
    if (lost > 0) this.#forgetReading(shard);
    return lost;
  }

  /** Redis counts from the start again. */
  restart(shard: number): void {
    this.#forgetReading(shard);
    this.#lower[shard] = Number.NEGATIVE_INFINITY;
    this.#upper[shard] = Number.POSITIVE_INFINITY;
  }

  #forgetReading(shard: number): void {
    this.#readAtMs[shard] = Number.POSITIVE_INFINITY;
  }

  /**
   * To be called once per second. Returns the shards of which Redis has counted what no process
   * has.
   */
  tick(nowMs: number): { readonly shard: number; readonly pushes: number }[] {
    let reportedAtMs = nowMs;
    for (const [incarnation, { heardAtMs }] of this.#processes) {
      if (nowMs - heardAtMs <= SILENT_MS) reportedAtMs = Math.min(reportedAtMs, heardAtMs);
      else {
        this.#processes.delete(incarnation);
        this.lift(nowMs);
      }
    }
    const surpluses: { shard: number; pushes: number }[] = [];
    for (let shard = 0; shard < this.#readings.length; shard++) {
      if (this.#readAtMs[shard]! + SETTLED_MS > reportedAtMs) continue;
      this.#forgetReading(shard);
      const lower = Math.max(this.#lower[shard]!, this.#readings[shard]! - this.#sums[shard]!);
      this.#lower[shard] = lower;
      const upper = this.#upper[shard]!;
      if (lower <= upper) continue;
      this.#upper[shard] = lower;
      surpluses.push({ shard, pushes: lower - upper });
    }
    return surpluses;
  }

  /** Redis may have counted what no process reports. */
  lift(nowMs: number): void {
    this.#liftedAtMs = nowMs;
    this.#upper.fill(Number.POSITIVE_INFINITY);
  }
}
