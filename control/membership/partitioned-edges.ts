/**
 * Cut off: edges that are heard, and say without a break for longer than a lease that they are not
 * ready. Most likely such an edge cannot reach Redis: its clients get no pushes although their
 * connections are fine, and they would get them anywhere else. Pure; membership asks it.
 *
 * When most edges say so at once, it is Redis that is the matter and not they. Nobody would be
 * better off elsewhere, so nobody is cut off, and each has another lease to get well afterwards.
 */
export class PartitionedEdges {
  /** Since when each has said that it is not ready. */
  readonly #since = new Map<string, number>();

  constructor(readonly leaseMs: number) {}

  hear(nowMs: number, edgeId: string, isReady: boolean): void {
    if (isReady) this.#since.delete(edgeId);
    else if (!this.#since.has(edgeId)) this.#since.set(edgeId, nowMs);
  }

  /** It is not heard, or it is another process: nothing is known of it. */
  forget(edgeId: string): void {
    this.#since.delete(edgeId);
  }

  /** @param memberCount how many edges there are in all */
  judge(nowMs: number, memberCount: number): ReadonlySet<string> {
    const count = this.#since.size;
    if (count >= 2 && count > memberCount / 2) {
      for (const edgeId of this.#since.keys()) this.#since.set(edgeId, nowMs);
    }
    const partitionedEdges = [...this.#since].filter(
      ([, sinceMs]) => nowMs > sinceMs + this.leaseMs,
    );
    return new Set(partitionedEdges.map(([edgeId]) => edgeId));
  }
}
