/**
 * Placement: who gets the shards that nobody has, and which shards the ring means for a joiner. Pure.
 *
 * The table is the authority and the ring only the preference. A ring of hashed shards alone leaves
 * the fullest of 16 edges 11 % above the mean, however many points it has; so the ring is asked
 * under a bound on every edge's load. Shards that have an owner are not asked for at all.
 */
import { NO_OWNER } from '../../common/cluster/assignment.js';
import type { PlannedMove, ProjectedLoads } from './projected-loads.js';
import { buildRing, type Ring } from './ring.js';

/** How far down its list a shard asks before it takes whoever is coldest. */
const FAVOURITES = 8;

/**
 * Gives every shard without owner to an edge that takes part: in the ring's order to one that stays
 * within its share by load, else to the coldest. This is also the emergency when an edge has died,
 * so it always finds somebody as long as anybody takes part; capacity is passed only when all are
 * full. Heavy shards come first, as the light ones fill what these leave.
 */
export function placeOrphans(projected: ProjectedLoads): void {
  const takers = projected.edges.filter((edge) => edge.takesPart);
  if (takers.length === 0) return;
  const orphans = [...projected.owners.keys()].filter(
    (shard) => projected.owners[shard] === NO_OWNER,
  );
  if (orphans.length === 0) return;
  const { load } = projected.loads;
  orphans.sort((a, b) => load[b]! - load[a]! || a - b);
  const ring = ringOf(takers);
  const indexOf = new Map(projected.edges.map((edge, index) => [edge.id, index]));
  for (const shard of orphans) {
    const favourites = take(ring.preference(shard), FAVOURITES).map((id) => indexOf.get(id)!);
    const fits = (index: number) =>
      projected.load[index]! + load[shard]! <= projected.targets[index]! &&
      projected.hasRoomFor(shard, index);
    projected.book(shard, favourites.find(fits) ?? coldestFor(projected, shard));
  }
}

/**
 * Books for each joiner the shards that the ring means for it, as far as its share and those of
 * the givers go. So an edge that comes back gets mostly what it had.
 */
export function fillJoiners(
  projected: ProjectedLoads,
  isJoiner: (index: number) => boolean,
  isMovable: (shard: number) => boolean,
): PlannedMove[] {
  const takers = projected.edges.filter((edge) => edge.takesPart);
  const ring = ringOf(takers);
  const indexOf = new Map(projected.edges.map((edge, index) => [edge.id, index]));
  const moves: PlannedMove[] = [];
  for (const [shard, from] of projected.owners.entries()) {
    if (from === NO_OWNER || !projected.edges[from]!.takesPart || !isMovable(shard)) continue;
    const to = indexOf.get(firstOf(ring.preference(shard)))!;
    if (!isJoiner(to) || isJoiner(from) || !projected.hasRoomFor(shard, to)) continue;
    const load = projected.loads.load[shard]!;
    const isWithinShares =
      projected.load[from]! - load >= projected.targets[from]! &&
      projected.load[to]! + load <= projected.targets[to]!;
    if (!isWithinShares) continue;
    projected.book(shard, to);
    moves.push({ shard, from, to });
  }
  return moves;
}

function coldestFor(projected: ProjectedLoads, shard: number): number {
  let best: number | undefined;
  let bestHasRoom = false;
  for (const [index, edge] of projected.edges.entries()) {
    if (!edge.takesPart) continue;
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

/** Relative to the mean, so that the ring has as many points whatever unit capacities are in. */
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
