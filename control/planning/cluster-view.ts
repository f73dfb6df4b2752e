/** The planner's view of the cluster besides the assignment: edges, their loads and cooldowns. */
import type { Assignment, Content } from '../../common/cluster/assignment.js';
import type { LoadReport } from '../placement/load-report.js';
import { Loads } from '../placement/loads.js';
import { Cooldowns } from './cooldowns.js';
import type { PlanInputs } from './plan.js';
import type { PlannerEdge } from './planner-events.js';

/** Loads are recorded this often, so that those of an edge that dies are not old. */
const MEASURE_INTERVAL_MS = 5_000;

export class ClusterView {
  readonly cooldowns = new Cooldowns();
  readonly #loads: Loads;
  /** By id. */
  #edges = new Map<string, PlannerEdge>();
  #measuredAtMs = Number.NEGATIVE_INFINITY;

  /** @param messageWeight how many idle connections one message per second is worth */
  constructor(shardCount: number, messageWeight: number) {
    this.#loads = new Loads(shardCount, messageWeight);
  }

  get members(): PlannerEdge[] {
    return [...this.#edges.values()].filter((edge) => edge.isMember);
  }

  /** Returns whether an edge has become partitioned or has recovered. */
  setEdges(nowMs: number, edges: readonly PlannerEdge[]): boolean {
    let hasChanged = false;
    for (const { id, isPartitioned } of edges) {
      if ((this.#edges.get(id)?.isPartitioned ?? false) === isPartitioned) continue;
      // It may be partitioned again soon: it keeps its shards but gets no more for a while.
      if (!isPartitioned) this.cooldowns.onAcquireFailed(nowMs, id);
      hasChanged = true;
    }
    this.#edges = new Map(edges.map((edge) => [edge.id, edge]));
    return hasChanged;
  }

  onAssignment(nowMs: number, assignment: Assignment): void {
    this.#loads.onAssignment(nowMs, assignment);
  }

  /** @param report undefined when it was implausible */
  onReport(nowMs: number, edgeId: string, report: LoadReport | undefined): void {
    this.#loads.onReport(nowMs, edgeId, report);
  }

  measureIfDue(nowMs: number): void {
    if (nowMs < this.#measuredAtMs + MEASURE_INTERVAL_MS) return;
    this.#measuredAtMs = nowMs;
    this.#loads.measure(nowMs);
  }

  canReceive(nowMs: number, edgeId: string): boolean {
    const edge = this.#edges.get(edgeId);
    const isServing = edge?.isAlive === true && !edge.isPartitioned;
    return isServing && !this.cooldowns.hasRecentlyFailed(nowMs, edgeId);
  }

  planInputs(nowMs: number, content: Content): PlanInputs {
    const capacities = [...this.#edges.values()].flatMap(({ capacity }) => capacity ?? []);
    const mean = capacities.reduce((sum, one) => sum + one, 0) / (capacities.length || 1);
    return {
      edges: content.edges.map(({ id }) => ({
        id,
        capacity: this.#edges.get(id)?.capacity ?? Math.max(1, mean),
        zone: this.#edges.get(id)?.zone ?? '',
        isAlive: this.canReceive(nowMs, id),
        isPartitioned: this.#edges.get(id)?.isPartitioned ?? false,
        isKnown: this.#loads.isEdgeKnown(nowMs, id),
        mayGive: this.cooldowns.mayGive(nowMs, id),
        mayReceive: this.cooldowns.mayReceive(nowMs, id),
      })),
      loads: this.#loads.measure(nowMs),
      isCoolingDown: (shard) => this.cooldowns.isCoolingDown(nowMs, shard),
    };
  }
}
