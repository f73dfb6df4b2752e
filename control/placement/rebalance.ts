/**
 * The rebalancer: which shards should move so that the measured load is even. Greedy: the hottest
 * edge gives the coldest edge the shard that removes most imbalance for the cost of moving it.
 *
 * Moving a shard costs a reconnect of every client in it. So the aim is not perfect balance but a
 * band around it with few moves: nothing happens until an edge is far outside, and then only what
 * brings it just inside. An edge that no move helps is skipped and does not end the search: one
 * giant shard must not hide the second-hottest edge.
 *
 * Invariants:
 * - Every planned move lowers the imbalance.
 * - A shard moves at most once.
 * - Only movable shards move, from edges that may give to edges that may receive and have room.
 * - The load that moves stays within the budget.
 */
import type { PlannedMove, ProjectedEdge, ProjectedLoads } from './projected-loads.js';

export interface BalanceEdge extends ProjectedEdge {
  readonly zone: string;
  /** False while it cools down from receiving. */
  readonly mayGive: boolean;
  /** False while it cools down from giving, or cannot receive. */
  readonly mayReceive: boolean;
  /** It has just joined: it is filled up to its target, not only to the lower edge of the band. */
  readonly isJoining: boolean;
}

export interface BalanceLimits {
  /** Share of the whole load that may move, 0 to 1. */
  readonly loadShareMax: number;
  /** False for a shard that is moving, is cooling down, or whose load is unknown. */
  readonly isMovable: (shard: number) => boolean;
}

/** Deviation from its target, as a share of it, at which an edge needs balancing. */
const TRIGGER_DEVIATION = 0.1;
/** Deviation at which balancing stops. */
const GOAL_DEVIATION = 0.05;
/** A smaller deviation in load is not worth any reconnect. */
const TRIGGER_LOAD_MIN = 100;
/**
 * Cost of moving a shard in addition to its connections, in connections. Without it, shards
 * without clients would be the cheapest, and hundreds of them would move before one that matters.
 */
const MOVE_COST = 1;
/** Imbalance removed per cost. Any value above rounding errors is an improvement. */
const SCORE_MIN = 1e-6;
/** Receivers whose ratios differ by less count as equal, and the zone decides. */
const RATIO_TIE = 0.01;

/** Whether balancing has to start. It then continues to `GOAL_DEVIATION`: a hysteresis. */
export function isOutOfBand(projected: ProjectedLoads<BalanceEdge>): boolean {
  return projected.edges.some((edge, index) => {
    if (!edge.isEligible) return false;
    const target = projected.targets[index]!;
    const deviation = Math.abs(projected.load[index]! - target);
    return deviation > TRIGGER_DEVIATION * target && deviation >= TRIGGER_LOAD_MIN;
  });
}

/**
 * Plans moves, and applies them to `projected`, until every edge is inside the band, no move helps,
 * or the budget is spent.
 */
export function rebalance(
  projected: ProjectedLoads<BalanceEdge>,
  limits: BalanceLimits,
): PlannedMove[] {
  const moves: PlannedMove[] = [];
  const skipped = new Set<number>();
  const moved = new Set<number>();
  const isMovable = (shard: number) => !moved.has(shard) && limits.isMovable(shard);
  let budget = limits.loadShareMax * projected.load.reduce((sum, load) => sum + load, 0);
  for (;;) {
    const from = hottest(projected, skipped);
    if (from === undefined) return moves;
    const to = coldest(projected, from);
    if (to === undefined || penalty(projected, from) + penalty(projected, to) === 0) return moves;
    const shard = bestShard(projected, from, to, isMovable);
    if (shard === undefined) {
      skipped.add(from);
      continue;
    }
    budget -= projected.loads.load[shard]!;
    if (budget < 0) return moves;
    projected.assign(shard, to);
    moved.add(shard);
    moves.push({ shard, from, to });
  }
}

/** The edge with the highest ratio that may give. An edge below its target has nothing to give. */
function hottest(projected: ProjectedLoads<BalanceEdge>, skipped: Set<number>): number | undefined {
  const { edges } = projected;
  let best: number | undefined;
  let bestRatio = 1;
  // Plain loops: both searches run once per move, over a thousand edges.
  for (let index = 0; index < edges.length; index++) {
    const edge = edges[index]!;
    if (!edge.isEligible || !edge.mayGive || skipped.has(index)) continue;
    const ratio = projected.ratio(index);
    if (ratio <= bestRatio) continue;
    best = index;
    bestRatio = ratio;
  }
  return best;
}

/**
 * The receiver with the lowest ratio; among equals, one in the zone of `from` that a move helps.
 */
function coldest(projected: ProjectedLoads<BalanceEdge>, from: number): number | undefined {
  const { edges } = projected;
  const mayReceive = (index: number) =>
    edges[index]!.isEligible && edges[index]!.mayReceive && index !== from;
  let best: number | undefined;
  let bestRatio = Number.POSITIVE_INFINITY;
  for (let index = 0; index < edges.length; index++) {
    if (!mayReceive(index)) continue;
    const ratio = projected.ratio(index);
    if (ratio >= bestRatio && best !== undefined) continue;
    best = index;
    bestRatio = ratio;
  }
  if (best === undefined) return undefined;
  const { zone } = edges[from]!;
  const ratioMax = bestRatio + RATIO_TIE;
  let inZone: number | undefined;
  for (let index = 0; index < edges.length; index++) {
    if (edges[index]!.zone !== zone || !mayReceive(index)) continue;
    if (projected.ratio(index) > ratioMax) continue;
    if (penalty(projected, from) + penalty(projected, index) === 0) continue;
    if (inZone === undefined || projected.ratio(index) < projected.ratio(inZone)) inZone = index;
  }
  return inZone ?? best;
}

/** The movable shard of `from` with the highest score: imbalance removed per connection moved. */
function bestShard(
  projected: ProjectedLoads<BalanceEdge>,
  from: number,
  to: number,
  isMovable: (shard: number) => boolean,
): number | undefined {
  const before = penalty(projected, from) + penalty(projected, to);
  let best: number | undefined;
  let bestScore = SCORE_MIN;
  for (const shard of projected.shards[from]!) {
    if (!isMovable(shard) || !projected.hasRoomFor(shard, to)) continue;
    const load = projected.loads.load[shard]!;
    const after = penalty(projected, from, -load) + penalty(projected, to, load);
    const score = (before - after) / (projected.loads.connections[shard]! + MOVE_COST);
    const isLarger = best === undefined || load > projected.loads.load[best]!;
    // Among equals the larger shard wins: fewer moves achieve the same.
    if (score > bestScore * (1 + 1e-9) || (score >= bestScore * (1 - 1e-9) && isLarger)) {
      best = shard;
      bestScore = score;
    }
  }
  return best;
}

/** Load by which an edge is outside the band after its load has changed by `change`. */
function penalty(projected: ProjectedLoads<BalanceEdge>, index: number, change = 0): number {
  const target = projected.targets[index]!;
  const load = projected.load[index]! + change;
  const floor = projected.edges[index]!.isJoining ? target : (1 - GOAL_DEVIATION) * target;
  return Math.max(0, load - (1 + GOAL_DEVIATION) * target) + Math.max(0, floor - load);
}
