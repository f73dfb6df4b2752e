/**
 * Partitioned edges: edges that keep their session but report without interruption for longer than
 * a lease that they receive no pushes: they are not ready, or receive nothing through one of the
 * Redis masters. Most likely such an edge cannot reach Redis, or reaches another server than the
 * routers do: its clients get no pushes although their connections are fine, and would get them on
 * any other edge. Pure; part of the membership machine.
 *
 * When most edges report the same problem at once, the cause is Redis and not the edges. No edge
 * would serve the clients better, so none counts as partitioned because of it, and each gets another
 * lease to recover.
 */
export class PartitionedEdges {
  /** By edge id: the problems that it reports, and since when. */
  readonly #problems = new Map<string, Map<string, number>>();

  constructor(readonly leaseMs: number) {}

  /** @param problems names that are equal on all edges with the same problem; empty: none */
  onReport(nowMs: number, edgeId: string, problems: readonly string[]): void {
    const before = this.#problems.get(edgeId);
    this.#problems.set(
      edgeId,
      new Map(problems.map((problem) => [problem, before?.get(problem) ?? nowMs])),
    );
  }

  /** The edge has disconnected or is another process: its state is unknown. */
  forget(edgeId: string): void {
    this.#problems.delete(edgeId);
  }

  /** Returns the ids of the partitioned edges. @param memberCount number of all members */
  update(nowMs: number, memberCount: number): ReadonlySet<string> {
    const counts = new Map<string, number>();
    for (const problems of this.#problems.values()) {
      for (const problem of problems.keys()) counts.set(problem, (counts.get(problem) ?? 0) + 1);
    }
    const partitioned = new Set<string>();
    for (const [edgeId, problems] of this.#problems) {
      for (const [problem, sinceMs] of problems) {
        const count = counts.get(problem)!;
        if (count >= 2 && count > memberCount / 2) problems.set(problem, nowMs);
        else if (nowMs > sinceMs + this.leaseMs) partitioned.add(edgeId);
      }
    }
    return partitioned;
  }
}
