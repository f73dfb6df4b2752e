/**
 * The rebalancer: which shards should move so that load is even, by what was measured. Greedy: the
 * hottest edge gives to the coldest that shard which removes most imbalance for what it costs to move.
 *
 * Moving a shard costs every one of its clients a reconnect, so the aim is not evenness but to be
 * inside the band with few moves: nothing happens until an edge is far outside, and then only what
 * brings it just inside. An edge that no move helps is passed over, and is not the end: one giant
 * shard must not hide the second-hottest edge.
 *
 * Invariants: every move booked lowers the imbalance; a shard moves once; only movable shards of
 * edges that may give move to edges that may receive and have room; what is moved stays within the
 * budget.
 */
import type { PlannedMove, ProjectedEdge, ProjectedLoads } from './projected-loads.js';

export interface BalanceEdge extends ProjectedEdge {
  readonly zone: string;
  /** False while it cools down from having received. */
  readonly mayGive: boolean;
  /** False while it cools down from having given, or is not there to receive. */
  readonly mayReceive: boolean;
  /** It has just come: it is to be filled to its share, not only to the band. */
  readonly isJoining: boolean;
}

export interface BalanceLimits {
  /** Of the whole load. */
  readonly loadShareMax: number;
  /** Whether a shard may be moved: not while it moves, cools down, or its load is unknown. */
  readonly isMovable: (shard: number) => boolean;
}

/** An edge this far above or below its share has to be helped. */
const ACT = 0.1;
/** And this far is near enough. */
const AIM = 0.05;
/** Less load than this is not worth a reconnect, however uneven it is. */
const ACT_LOAD_MIN = 100;
/**
 * What moving a shard costs besides its connections, in connections. Without it, shards without
 * clients would be the cheapest, and hundreds of them would move before one that changes anything.
 */
const MOVE_COST = 1;
/** Imbalance removed per cost: anything but rounding is an improvement. */
const SCORE_MIN = 1e-6;
/** Receivers whose ratios differ by less are alike, and the zone decides. */
const ALIKE = 0.01;

/** Whether there is anything to do: the hysteresis between acting and aiming. */
export function isOutOfBand(projected: ProjectedLoads<BalanceEdge>): boolean {
  return projected.edges.some((edge, index) => {
    if (!edge.takesPart) return false;
    const target = projected.targets[index]!;
    const off = Math.abs(projected.load[index]! - target);
    return off > ACT * target && off >= ACT_LOAD_MIN;
  });
}

/** Books moves until every edge is inside the band, or nothing helps, or the budget is spent. */
export function rebalance(
  projected: ProjectedLoads<BalanceEdge>,
  limits: BalanceLimits,
): PlannedMove[] {
  const moves: PlannedMove[] = [];
  const passedOver = new Set<number>();
  const booked = new Set<number>();
  const isMovable = (shard: number) => !booked.has(shard) && limits.isMovable(shard);
  let budget = limits.loadShareMax * projected.load.reduce((sum, load) => sum + load, 0);
  for (;;) {
    const from = hottest(projected, passedOver);
    if (from === undefined) return moves;
    const to = coldest(projected, from);
    if (to === undefined || penalty(projected, from) + penalty(projected, to) === 0) return moves;
    const shard = bestShard(projected, from, to, isMovable);
    if (shard === undefined) {
      passedOver.add(from);
      continue;
    }
    budget -= projected.loads.load[shard]!;
    if (budget < 0) return moves;
    projected.book(shard, to);
    booked.add(shard);
    moves.push({ shard, from, to });
  }
}

/** The one above its share by most that may give. Whoever is below its share has nothing to give. */
function hottest(
  projected: ProjectedLoads<BalanceEdge>,
  passedOver: Set<number>,
): number | undefined {
  let best: number | undefined;
  for (const [index, edge] of projected.edges.entries()) {
    if (!edge.takesPart || !edge.mayGive || passedOver.has(index)) continue;
    if (projected.ratio(index) <= 1) continue;
    if (best === undefined || projected.ratio(index) > projected.ratio(best)) best = index;
  }
  return best;
}

/** Of those that are alike, one in the zone of `from` that it helps as well. */
function coldest(projected: ProjectedLoads<BalanceEdge>, from: number): number | undefined {
  let best: number | undefined;
  for (const [index, edge] of projected.edges.entries()) {
    if (!edge.takesPart || !edge.mayReceive || index === from) continue;
    if (best === undefined || projected.ratio(index) < projected.ratio(best)) best = index;
  }
  if (best === undefined) return undefined;
  const isHelped = (index: number) => penalty(projected, from) + penalty(projected, index) > 0;
  let near: number | undefined;
  for (const [index, edge] of projected.edges.entries()) {
    const isAlike =
      edge.takesPart &&
      edge.mayReceive &&
      edge.zone === projected.edges[from]!.zone &&
      index !== from &&
      projected.ratio(index) <= projected.ratio(best) + ALIKE;
    if (!isAlike || !isHelped(index)) continue;
    if (near === undefined || projected.ratio(index) < projected.ratio(near)) near = index;
  }
  return near ?? best;
}

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
    // Of equals the larger: fewer moves do the same.
    if (score > bestScore * (1 + 1e-9) || (score >= bestScore * (1 - 1e-9) && isLarger)) {
      best = shard;
      bestScore = score;
    }
  }
  return best;
}

/** How far outside the band an edge is, with `change` of load. */
function penalty(projected: ProjectedLoads<BalanceEdge>, index: number, change = 0): number {
  const target = projected.targets[index]!;
  const load = projected.load[index]! + change;
  const floor = projected.edges[index]!.isJoining ? target : (1 - AIM) * target;
  return Math.max(0, load - (1 + AIM) * target) + Math.max(0, floor - load);
}
