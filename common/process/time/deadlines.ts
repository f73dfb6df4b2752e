/**
 * Many coarse deadlines for one timer: deadlines in the same interval of `resolutionMs` expire
 * together. A deadline cannot be cancelled; the caller ignores an expired id that it no longer has.
 * Pure.
 */
export class Deadlines {
  /** Ids by the interval at whose end they expire. */
  readonly #buckets = new Map<number, number[]>();
  /** The last interval that has expired. */
  #expiredUntil = 0;

  constructor(readonly resolutionMs: number) {}

  /** @param id a number, so that millions of deadlines do not load the garbage collector */
  add(id: number, dueAtMs: number): void {
    const bucket = Math.max(Math.ceil(dueAtMs / this.resolutionMs), this.#expiredUntil + 1);
    const ids = this.#buckets.get(bucket);
    if (ids === undefined) this.#buckets.set(bucket, [id]);
    else ids.push(id);
  }

  /** Returns the ids expired since the last call: never early, at most `resolutionMs` late. */
  takeExpired(nowMs: number): number[] {
    const until = Math.floor(nowMs / this.resolutionMs);
    const expired: number[] = [];
    for (const [bucket, ids] of this.#buckets) {
      if (bucket > until) continue;
      for (const id of ids) expired.push(id);
      this.#buckets.delete(bucket);
    }
    this.#expiredUntil = until;
    return expired;
  }
}
