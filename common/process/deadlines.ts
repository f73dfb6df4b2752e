/**
 * Many deadlines for one timer, coarse: those that fall into the same grain of time pass together.
 * Nothing is taken out when what it was for is done; whoever asks finds that out by the number.
 * Pure.
 */
export class Deadlines {
  /** By the grain in which they pass. */
  readonly #buckets = new Map<number, number[]>();
  /** The grains up to here have passed. */
  #passed = 0;

  constructor(readonly resolutionMs: number) {}

  /** @param id a number, so that millions of them are nothing to a garbage collector */
  add(id: number, dueAtMs: number): void {
    const bucket = Math.max(Math.ceil(dueAtMs / this.resolutionMs), this.#passed + 1);
    const ids = this.#buckets.get(bucket);
    if (ids === undefined) this.#buckets.set(bucket, [id]);
    else ids.push(id);
  }

  /** Those that have passed since the last call: never early, at most a grain late. */
  passed(nowMs: number): number[] {
    const until = Math.floor(nowMs / this.resolutionMs);
    const passed: number[] = [];
    for (const [bucket, ids] of this.#buckets) {
      if (bucket > until) continue;
      for (const id of ids) passed.push(id);
      this.#buckets.delete(bucket);
    }
    this.#passed = until;
    return passed;
  }
}
