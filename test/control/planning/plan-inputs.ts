/** Inputs of plans for tests: edges of one size, shards with given loads. */
import { type Content, type Intent, NO_OWNER } from '../../../common/cluster/assignment.js';
import type { ShardLoads } from '../../../control/placement/loads.js';
import type { PlanEdge, PlanInputs } from '../../../control/planning/plan.js';

export const edgeName = (index: number) => `edge-${String(index).padStart(4, '0')}`;

export function planEdge(index: number, more: Partial<PlanEdge> = {}): PlanEdge {
  return {
    id: edgeName(index),
    capacity: 1_000_000,
    zone: '',
    isAlive: true,
    isPartitioned: false,
    isKnown: true,
    mayGive: true,
    mayReceive: true,
    ...more,
  };
}

export function loadsOf(loads: ArrayLike<number>): ShardLoads {
  const load = Float64Array.from(loads);
  return { load, connections: load, isKnown: new Uint8Array(load.length).fill(1) };
}

export function inputsOf(edges: readonly PlanEdge[], loads: ShardLoads): PlanInputs {
  return { edges, loads, isCoolingDown: () => false };
}

/** Edges `edge-0000`… and the owners of all shards; without `owners`, all are unowned. */
export function contentOf(edgeCount: number, shardCount: number, owners?: Uint16Array): Content {
  return {
    edges: Array.from({ length: edgeCount }, (_, index) => ({
      id: edgeName(index),
      incarnation: 'i1',
      advertisedUrl: `http://${edgeName(index)}:7000`,
      intent: 'none',
    })),
    owners: owners ?? new Uint16Array(shardCount).fill(NO_OWNER),
    moves: [],
    isBalancing: false,
  };
}

export function withIntent(content: Content, index: number, intent: Intent): Content {
  return {
    ...content,
    edges: content.edges.map((edge, i) => (i === index ? { ...edge, intent } : edge)),
  };
}
