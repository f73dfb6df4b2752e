/**
 * Partitioned edges: edges that keep their session but report without interruption for longer than
 * a lease that they receive no pushes: they are not ready, or receive nothing through one of the
 * Redis masters. Most likely such an edge cannot reach Redis, or reaches another server than the
 * routers do: its clients get no pushes although their connections are fine, and would get them on
 * any other edge. Pure; part of the membership machine.
 *
 * When most edges report the same problem at once, the cause is Redis and not the edges. No edge
 * would serve the clients better, so none counts as partitioned because of it, and each gets
 * another lease to recover. The same holds for "no router is here" while no edge sees a router.
 */
import type { EdgeCounts } from './edge-record.js';

/** How pushes reach an edge, as it reports that. */
export interface DeliveryReport {
  /** Names that are equal on all edges with the same problem; empty: none. */
  readonly problems: readonly string[];
  /** Redis masters at which the edge sees no router. */
  readonly deserted: readonly string[];
  readonly seesRouters: boolean;
}

export const HEALTHY: DeliveryReport = { problems: [], deserted: [], seesRouters: false };
const HEALTHY_WITH_ROUTERS: DeliveryReport = { ...HEALTHY, seesRouters: true };

/** Start of the names of problems that count only while another edge sees a router. */
const NO_ROUTER = 'no router at ';

const NONE: ReadonlySet<string> = new Set();

export class PartitionedEdges {
  /** By edge id: since when it reports each problem; only edges with problems, which are few. */
  readonly #problems = new Map<string, Map<string, number>>();
  /** Ids of the edges that see a router. */
  readonly #seeingRouters = new Set<string>();

  constructor(readonly leaseMs: number) {}

  onReport(nowMs: number, edgeId: string, report: DeliveryReport): void {
    if (report.seesRouters) this.#seeingRouters.add(edgeId);
    else this.#seeingRouters.delete(edgeId);
    if (report.problems.length === 0 && report.deserted.length === 0) {
      this.#problems.delete(edgeId);
      return;
    }
    const before = this.#problems.get(edgeId);
    const names = [...report.problems, ...report.deserted.map((master) => NO_ROUTER + master)];
    const problems = new Map(names.map((name) => [name, before?.get(name) ?? nowMs]));
    this.#problems.set(edgeId, problems);
  }

  /** The edge has disconnected or is another process: its state is unknown. */
  forget(edgeId: string): void {
    this.#problems.delete(edgeId);
    this.#seeingRouters.delete(edgeId);
  }

  /** Returns the ids of the partitioned edges. @param memberCount number of all members */
  update(nowMs: number, memberCount: number): ReadonlySet<string> {
    if (this.#problems.size === 0) return NONE;
    const counts = new Map<string, number>();
    for (const problems of this.#problems.values()) {
      for (const name of problems.keys()) counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    const partitioned = new Set<string>();
    for (const [edgeId, problems] of this.#problems) {
      for (const [name, sinceMs] of problems) {
        const count = counts.get(name)!;
        const isCommon = count >= 2 && count > memberCount / 2;
        const isUncertain = name.startsWith(NO_ROUTER) && this.#seeingRouters.size === 0;
        if (isCommon || isUncertain) problems.set(name, nowMs);
        else if (nowMs > sinceMs + this.leaseMs) partitioned.add(edgeId);
      }
    }
    return partitioned;
  }
}

/** The delivery that an edge reports. */
export function deliveryOf(counts: EdgeCounts): DeliveryReport {
  const { ready, redisUnusable = [], redisDeserted = [], routersSeen = false } = counts;
  const isHealthy = ready && redisUnusable.length === 0 && redisDeserted.length === 0;
  if (isHealthy) return routersSeen ? HEALTHY_WITH_ROUTERS : HEALTHY;
  const problems = ready ? redisUnusable.map((master) => `Redis ${master}`) : ['not ready'];
  return { problems, deserted: redisDeserted, seesRouters: routersSeen };
}
