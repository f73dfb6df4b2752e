/**
 * Placement: who owns which shard, given who owned it and who is there. Pure.
 *
 * The table is the authority and the ring only the preference. A ring of hashed shards alone leaves
 * the fullest of 16 edges 11 % above the mean, however many points it has; so the ring is asked
 * under a bound on every edge's number of shards. The bound is the edge's fair share by capacity,
 * to the shard: with the usual slack of 5 % above the mean, two of three edges could differ by
 * 15 %. A tight bound costs nothing here, because shards that have an owner are not asked for.
 *
 * Invariants: every shard has exactly one owner, which is in `edges`; an edge owns its fair share,
 * rounded down or up; a shard leaves an owner that is still there only to bring another edge up to
 * its share; the result does not depend on the order of `edges`.
 */
import { type Content, NO_OWNER, ownerOf } from '../common/assignment.js';
import { buildRing, type Ring } from '../common/ring.js';
import type { Ledger, PlannedMove } from './ledger.js';

export interface PlacementEdge {
  readonly id: string;
  /** How many connections it can hold; at least 1. Its share of the shards is proportional. */
  readonly capacity: number;
}

/** How far down its list a shard asks before it takes whoever is coldest. */
const FAVOURITES = 8;

/**
 * @param previous undefined when nothing has been assigned yet
 * @returns for each shard the index of its owner in `edges` sorted by id, or NO_OWNER if there is
 * no edge
 */
export function placeShards(
  previous: Content | undefined,
  edges: readonly PlacementEdge[],
  shardCount: number,
): Uint16Array {
  const owners = new Uint16Array(shardCount).fill(NO_OWNER);
  if (edges.length === 0) return owners;
  const sorted = [...edges].sort((a, b) => (a.id < b.id ? -1 : 1));
  const indexOf = new Map(sorted.map((edge, index) => [edge.id, index]));
  const held = new Array<number>(sorted.length).fill(0);
  for (let shard = 0; shard < shardCount; shard++) {
    const owner = previous && indexOf.get(ownerOf(previous, shard)?.id ?? '');
    if (owner === undefined) continue;
    owners[shard] = owner;
    held[owner]!++;
  }
  const ring = ringOf(sorted);
  const shares = fairShares(sorted, held, shardCount);
  release(owners, held, shares, (shard) => indexOf.get(firstOf(ring.preference(shard)))!);
  for (let shard = 0; shard < shardCount; shard++) {
    if (owners[shard] !== NO_OWNER) continue;
    for (const id of ring.preference(shard)) {
      const index = indexOf.get(id)!;
      if (held[index]! >= shares[index]!) continue;
      owners[shard] = index;
      held[index]!++;
      break;
    }
  }
  return owners;
}

/**
 * Gives every shard without owner to an edge that takes part: in the ring's order to one that stays
 * within its share by load, else to the coldest. This is also the emergency when an edge has died,
 * so it always finds somebody as long as anybody takes part; capacity is passed only when all are
 * full. Heavy shards come first, as the light ones fill what these leave.
 */
export function placeOrphans(ledger: Ledger): void {
  const takers = ledger.edges.filter((edge) => edge.takesPart);
  if (takers.length === 0) return;
  const orphans = [...ledger.owners.keys()].filter((shard) => ledger.owners[shard] === NO_OWNER);
  if (orphans.length === 0) return;
  const { load } = ledger.loads;
  orphans.sort((a, b) => load[b]! - load[a]! || a - b);
  const ring = ringOf(takers);
  const indexOf = new Map(ledger.edges.map((edge, index) => [edge.id, index]));
  for (const shard of orphans) {
    const favourites = take(ring.preference(shard), FAVOURITES).map((id) => indexOf.get(id)!);
    const fits = (index: number) =>
      ledger.load[index]! + load[shard]! <= ledger.targets[index]! &&
      ledger.hasRoomFor(shard, index);
    ledger.book(shard, favourites.find(fits) ?? coldestFor(ledger, shard));
  }
}

/**
 * Books for each joiner the shards that the ring means for it, as far as its share and those of
 * the givers go. So an edge that comes back gets mostly what it had.
 */
export function fillJoiners(
  ledger: Ledger,
  isJoiner: (index: number) => boolean,
  isMovable: (shard: number) => boolean,
): PlannedMove[] {
  const takers = ledger.edges.filter((edge) => edge.takesPart);
  const ring = ringOf(takers);
  const indexOf = new Map(ledger.edges.map((edge, index) => [edge.id, index]));
  const moves: PlannedMove[] = [];
  for (const [shard, from] of ledger.owners.entries()) {
    if (from === NO_OWNER || !ledger.edges[from]!.takesPart || !isMovable(shard)) continue;
    const to = indexOf.get(firstOf(ring.preference(shard)))!;
    if (!isJoiner(to) || isJoiner(from) || !ledger.hasRoomFor(shard, to)) continue;
    const load = ledger.loads.load[shard]!;
    const isWithinShares =
      ledger.load[from]! - load >= ledger.targets[from]! &&
      ledger.load[to]! + load <= ledger.targets[to]!;
    if (!isWithinShares) continue;
    ledger.book(shard, to);
    moves.push({ shard, from, to });
  }
  return moves;
}

function coldestFor(ledger: Ledger, shard: number): number {
  let best: number | undefined;
  let bestHasRoom = false;
  for (const [index, edge] of ledger.edges.entries()) {
    if (!edge.takesPart) continue;
    const hasRoom = ledger.hasRoomFor(shard, index);
    const isBetter =
      best === undefined ||
      (hasRoom === bestHasRoom ? ledger.ratio(index) < ledger.ratio(best) : hasRoom);
    if (!isBetter) continue;
    best = index;
    bestHasRoom = hasRoom;
  }
  return best!;
}

/** Relative to the mean, so that the ring has as many points whatever unit capacities are in. */
function ringOf(edges: readonly PlacementEdge[]): Ring {
  const meanCapacity = total(edges.map((edge) => edge.capacity)) / edges.length;
  return buildRing(edges.map((edge) => ({ id: edge.id, weight: edge.capacity / meanCapacity })));
}

/**
 * How many shards each edge is to own: shardCount in proportion to capacity, by largest remainder,
 * so that the shares sum to shardCount. Who already owns more than its share rounded down is
 * rounded up first: rounding is no reason to move a shard.
 */
function fairShares(
  edges: readonly PlacementEdge[],
  held: readonly number[],
  shardCount: number,
): number[] {
  const capacity = total(edges.map((edge) => edge.capacity));
  const exact = edges.map((edge) => (shardCount * edge.capacity) / capacity);
  const shares = exact.map(Math.floor);
  const holdsMore = (index: number) => Number(held[index]! > shares[index]!);
  const remainder = (index: number) => exact[index]! - shares[index]!;
  const byClaim = [...shares.keys()].sort(
    (a, b) => holdsMore(b) - holdsMore(a) || remainder(b) - remainder(a) || a - b,
  );
  for (const index of byClaim.slice(0, shardCount - total(shares))) shares[index]!++;
  return shares;
}

/**
 * Takes shards from edges that own more than their share: first those whose favourite has room, so
 * that a joiner gets what the ring means for it, and an edge that comes back what it had.
 */
function release(
  owners: Uint16Array,
  held: number[],
  shares: readonly number[],
  favouriteOf: (shard: number) => number,
): void {
  const excess = held.map((count, index) => Math.max(0, count - shares[index]!));
  const room = held.map((count, index) => Math.max(0, shares[index]! - count));
  if (total(excess) === 0) return;
  const releaseIf = (isWanted: (shard: number) => boolean) => {
    for (let shard = 0; shard < owners.length; shard++) {
      const owner = owners[shard]!;
      if (owner === NO_OWNER || excess[owner] === 0 || !isWanted(shard)) continue;
      owners[shard] = NO_OWNER;
      excess[owner]!--;
      held[owner]!--;
    }
  };
  releaseIf((shard) => room[favouriteOf(shard)]! > 0);
  releaseIf(() => true);
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

function total(numbers: readonly number[]): number {
  return numbers.reduce((sum, n) => sum + n, 0);
}
