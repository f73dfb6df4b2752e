/** Inputs and outputs of the planner. */

import type { Assignment, EdgeIdentity, Intent } from '../../common/cluster/assignment.js';
import type { Position } from '../../common/wire/position.js';
import type { LoadReport } from '../placement/load-report.js';
import type { MoveDeadlines, MoveReport } from './moves.js';
import type { Plan } from './plan.js';

export interface PlannerEdge extends EdgeIdentity {
  /** Maximum number of connections; undefined until the edge opens a session with this control. */
  readonly capacity: number | undefined;
  /** Empty: none. */
  readonly zone: string;
  /** Not dead: it keeps its shards. */
  readonly isMember: boolean;
  /** Has a session: it can get shards unless it is partitioned. */
  readonly isAlive: boolean;
  /** It has a session but reports that it cannot deliver: its shards have to move away. */
  readonly isPartitioned: boolean;
}

export type PlannerEvent =
  /** The stored assignment was read; undefined: nothing is stored. */
  | { readonly type: 'read'; readonly assignment: Assignment | undefined }
  /** The pending write is stored. */
  | { readonly type: 'written' }
  /** The pending write may or may not be stored. */
  | { readonly type: 'write-failed' }
  /** Membership may have changed. `newestSeen`: the newest assignment that any edge has. */
  | {
      readonly type: 'edges';
      readonly edges: readonly PlannerEdge[];
      readonly newestSeen: Position;
      readonly isFrozen: boolean;
    }
  /** Membership has changed, and it is time to act on it. */
  | { readonly type: 'replan' }
  /** One edge reports. `loads` is undefined when they were implausible. */
  | {
      readonly type: 'report';
      readonly moves: MoveReport;
      readonly loads: LoadReport | undefined;
    }
  /** Sets the intent of an edge. Ignored if `rejectIntent` rejects it even with force. */
  | { readonly type: 'intent'; readonly edgeId: string; readonly intent: Intent }
  /** Carries out a plan. Ignored if `rejectPlan` rejects it. */
  | { readonly type: 'apply'; readonly plan: Plan }
  /** Stops planning and starting moves; moves in flight continue. */
  | { readonly type: 'pause' }
  | { readonly type: 'resume' }
  /** Pauses, drops the queue and rolls back the moves that clients have not noticed yet. */
  | { readonly type: 'abort' };

/** Compare and set: store `next` if the stored assignment is still at `on`. */
export interface PlannerAction {
  readonly type: 'write';
  readonly next: Assignment;
  readonly on: Position;
}

export interface PlannerOptions extends MoveDeadlines {
  readonly shardCount: number;
  /** Bounds the extra traffic: pushes of a moving shard go to two edges. */
  readonly movesInFlightMax: number;
  /** How many idle connections one message per second is worth. */
  readonly messageWeight: number;
}
