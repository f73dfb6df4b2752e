/**
 * Plans: the moves to make, why, and what they cost. A plan is made from the assignment, the edges
 * and the loads (`make-plan.ts`); the planner carries it out a few shards at a time.
 */

import type { Content } from '../../common/cluster/assignment.js';
import type { Position } from '../../common/wire/position.js';
import type { ShardLoads } from '../placement/loads.js';

/** State of an edge of the assignment that a plan depends on. */
export interface PlanEdge {
  readonly id: string;
  /** Maximum number of connections. */
  readonly capacity: number;
  readonly zone: string;
  /** Whether it can get shards: it has a session, is not partitioned and has not just failed to. */
  readonly isAlive: boolean;
  /** It has a session but cannot deliver: its shards move away as if it were draining. */
  readonly isPartitioned: boolean;
  /** Its load reports are trusted. An edge that owns nothing needs none. */
  readonly isKnown: boolean;
  /** False while it cools down from the opposite role. */
  readonly mayGive: boolean;
  readonly mayReceive: boolean;
}

export interface PlanInputs {
  /** In the order of the edges in the assignment. */
  readonly edges: readonly PlanEdge[];
  readonly loads: ShardLoads;
  /** Whether a shard has moved recently, so that balancing leaves it alone. */
  readonly isCoolingDown: (shard: number) => boolean;
}

/** The phase of the plan that made a step. */
export type StepKind = 'removal' | 'addition' | 'balancing';

export interface PlanStep {
  readonly shard: number;
  /** Ids of edges. */
  readonly from: string;
  readonly to: string;
  readonly kind: StepKind;
  /** Clients that will have to reconnect. */
  readonly connections: number;
}

export interface Plan {
  /** The assignment for which the plan was made. */
  readonly on: Position;
  readonly steps: readonly PlanStep[];
  readonly maxOverMean: { readonly before: number; readonly after: number };
  /** A later plan may still find moves to make, or too little is known to exclude it. */
  readonly isUnfinished: boolean;
  /** Shards that are heavier than the whole share of an edge; no move can balance them. */
  readonly irreducible: readonly number[];
  /** Phases that were discarded, and why. Empty unless there is a bug. */
  readonly problems: readonly string[];
}

/** Owners after all moves in flight have completed. */
export function projectedOwners({ edges, owners, moves }: Content): Uint16Array {
  const projected = Uint16Array.from(owners);
  const indexOf = new Map(edges.map((edge, index) => [edge.id, index]));
  for (const { shard, to } of moves) projected[shard] = indexOf.get(to)!;
  return projected;
}
