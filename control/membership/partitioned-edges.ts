/**
 * Partitioned edges: edges that keep their session but report without interruption for longer than
 * a lease that they are not ready. Most likely such an edge cannot reach Redis: its clients get no
 * pushes although their connections are fine, and would get them on any other edge. Pure; part of
 * the membership machine.
 *
 * When most edges report this at once, the cause is Redis and not the edges. No edge would serve
 * the clients better, so none counts as partitioned, and each gets another lease to recover.
 */
export class PartitionedEdges {
  /** By edge id: since when it has reported that it is not ready. */
  readonly #notReadySince = new Map<string, number>();

  constructor(readonly leaseMs: number) {}

  onReport(nowMs: number, edgeId: string, isReady: boolean): void {
    if (isReady) this.#notReadySince.delete(edgeId);
    else if (!this.#notReadySince.has(edgeId)) this.#notReadySince.set(edgeId, nowMs);
  }

  /** The edge has disconnected or is another process: its state is unknown. */
  forget(edgeId: string): void {
    this.#notReadySince.delete(edgeId);
  }

  /** Returns the ids of the partitioned edges. @param memberCount number of all members */
  update(nowMs: number, memberCount: number): ReadonlySet<string> {
    const count = this.#notReadySince.size;
    if (count >= 2 && count > memberCount / 2) {
      for (const edgeId of this.#notReadySince.keys()) this.#notReadySince.set(edgeId, nowMs);
    }
    const partitioned = [...this.#notReadySince].filter(
      ([, sinceMs]) => nowMs > sinceMs + this.leaseMs,
    );
    return new Set(partitioned.map(([edgeId]) => edgeId));
  }
}
