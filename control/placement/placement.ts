/**
 * Placement: owners for unowned shards, and the shards that a joining edge should get. Pure.
 *
 * The assignment is the authority and the ring only a preference. A ring of hashed shards alone
 * leaves the fullest of 16 edges 11 % above the mean, however many points it has. So the ring is
 * used under a bound on the load of every edge. Shards that have an owner are left alone.
 */
import { NO_OWNER } from '../../common/cluster/assignment.js';
import type { PlannedMove, ProjectedLoads } from './projected-loads.js';
import { buildRing, type Ring } from './ring.js';

/** Maximum edges in the ring's order that are tried before the coldest edge is taken. */
const PREFERRED_MAX = 8;

/**
 * Assigns every unowned shard to an eligible edge: to the first in the ring's order that stays
 * within its target, otherwise to the coldest. This is also the emergency path when an edge has
 * died, so it always finds an owner while any edge is eligible; capacity is exceeded only when all
 * edges are full. Heavy shards come first, and light ones fill the gaps.
 */
export function placeUnownedShards(projected: ProjectedLoads): void {
  const eligible = projected.edges.filter((edge) => edge.isEligible);
  if (eligible.length === 0) return;
  const unowned = [...projected.owners.keys()].filter(
    (shard) => projected.owners[shard] === NO_OWNER,
  );
  if (unowned.length === 0) return;
  const { load } = projected.loads;
  unowned.sort((a, b) => load[b]! - load[a]! || a - b);
  const ring = ringOf(eligible);
  const indexOf = new Map(projected.edges.map((edge, index) => [edge.id, index]));
  for (const shard of unowned) {
    const preferred = take(ring.preference(shard), PREFERRED_MAX).map((id) => indexOf.get(id)!);
    const fits = (index: number) =>
      projected.load[index]! + load[shard]! <= projected.targets[index]! &&
      projected.hasRoomFor(shard, index);
    projected.assign(shard, preferred.find(fits) ?? coldestFor(projected, shard));
  }
}

/**
 * Moves to each joining edge the shards for which the ring prefers it, as far as its target and
 * those of the giving edges allow. So an edge that returns gets mostly the shards that it had.
 */
export function fillJoiners(
  projected: ProjectedLoads,
  isJoiner: (index: number) => boolean,
  isMovable: (shard: number) => boolean,
): PlannedMove[] {
  const ring = ringOf(projected.edges.filter((edge) => edge.isEligible));
  const indexOf = new Map(projected.edges.map((edge, index) => [edge.id, index]));
  const moves: PlannedMove[] = [];
  for (const [shard, from] of projected.owners.entries()) {
    if (from === NO_OWNER || !projected.edges[from]!.isEligible || !isMovable(shard)) continue;
    const to = indexOf.get(firstOf(ring.preference(shard)))!;
    if (!isJoiner(to) || isJoiner(from) || !projected.hasRoomFor(shard, to)) continue;
    const load = projected.loads.load[shard]!;
    const isWithinTargets =
      projected.load[from]! - load >= projected.targets[from]! &&
      projected.load[to]! + load <= projected.targets[to]!;
    if (!isWithinTargets) continue;
    projected.assign(shard, to);
    moves.push({ shard, from, to });
  }
  return moves;
}

/** The eligible edge with the lowest ratio, among those with room if there are any. */
function coldestFor(projected: ProjectedLoads, shard: number): number {
  let best: number | undefined;
  let bestHasRoom = false;
  for (const [index, edge] of projected.edges.entries()) {
    if (!edge.isEligible) continue;
    const hasRoom = projected.hasRoomFor(shard, index);
    const isBetter =
      best === undefined ||
      (hasRoom === bestHasRoom ? projected.ratio(index) < projected.ratio(best) : hasRoom);
    if (!isBetter) continue;
    best = index;
    bestHasRoom = hasRoom;
  }
  return best!;
}

/** Weights are relative to the mean, so that the unit of capacity does not change the points. */
function ringOf(edges: readonly { readonly id: string; readonly capacity: number }[]): Ring {
  const meanCapacity = edges.reduce((sum, { capacity }) => sum + capacity, 0) / edges.length;
  return buildRing(edges.map((edge) => ({ id: edge.id, weight: edge.capacity / meanCapacity })));
}

function take(ids: Iterable<string>, count: number): string[] {
  const taken: string[] = [];
  for (const id of ids) {
    taken.push(id);
    if (taken.length === count) break;
  }
  return taken;
}

function firstOf(ids: Iterable<string>): string {
  for (const id of ids) return id;
  throw new Error('the ring is empty');
}
