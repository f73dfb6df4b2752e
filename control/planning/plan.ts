/**
 * Plans: what should move, why, and what that will cost. A plan is a function of the table, the
 * edges and the loads; the planner carries it out a few shards at a time.
 *
 * Phases, each checked and undone as a whole if it breaks an invariant:
 * 1. removal: the shards of an edge that is draining or cut off go to the others, wherever the ring
 *    and their load allow;
 * 2. addition: an edge that has just come is filled to its share;
 * 3. balancing: if an edge is still far outside the band, or that has begun and is not finished, by
 *    what was measured.
 * The churn is accounted by phase: only the third is the rebalancer's own doing.
 */
import { type Content, NO_OWNER, type Position } from '../../common/cluster/assignment.js';
import type { ShardLoads } from '../placement/loads.js';
import { fillJoiners, placeOrphans } from '../placement/placement.js';
import { type PlannedMove, ProjectedLoads } from '../placement/projected-loads.js';
import { type BalanceEdge, isOutOfBand, rebalance } from '../placement/rebalance.js';

/** An edge of the table, as the plan sees it. */
export interface PlanEdge {
  readonly id: string;
  readonly capacity: number;
  readonly zone: string;
  /** It is heard: it can be given shards. */
  readonly isAlive: boolean;
  /** It is alive and cannot deliver: it is to lose its shards as if it were draining. */
  readonly isPartitioned: boolean;
  /** Its reports are believed. One that owns nothing needs none. */
  readonly isKnown: boolean;
  /** False while it cools down from the opposite role. */
  readonly mayGive: boolean;
  readonly mayReceive: boolean;
}

export interface World {
  /** In the order of the table's. */
  readonly edges: readonly PlanEdge[];
  readonly loads: ShardLoads;
  /** Balancing leaves it alone: it has moved not long ago. */
  readonly isCooling: (shard: number) => boolean;
}

export type Kind = 'removal' | 'addition' | 'balancing';

export interface Step {
  readonly shard: number;
  readonly from: string;
  readonly to: string;
  readonly kind: Kind;
  /** Clients that will be told to reconnect. */
  readonly connections: number;
}

export interface Plan {
  /** The assignment that it was made for. */
  readonly on: Position;
  readonly steps: readonly Step[];
  readonly maxOverMean: { readonly before: number; readonly after: number };
  /** A rebalance would still find something to do, or not all is known that it takes to say so. */
  readonly isUnfinished: boolean;
  /** Shards that alone are heavier than an edge's share; nothing can even them out. */
  readonly irreducible: readonly number[];
  /** Phases that were undone, and why. Empty unless there is a bug. */
  readonly problems: readonly string[];
}

/** Where moves are going: the owners when all that are in flight have ended. */
export function projectedOwners({ edges, owners, moves }: Content): Uint16Array {
  const projected = Uint16Array.from(owners);
  const indexOf = new Map(edges.map((edge, index) => [edge.id, index]));
  for (const { shard, to } of moves) projected[shard] = indexOf.get(to)!;
  return projected;
}

/** An edge with so much of its share has nothing to catch up on, however few shards that is. */
const FILLED = 0.9;

/** Of the load, by one plan that the planner makes by itself: it looks again soon. */
const LOAD_SHARE_MAX = 0.09;

/** Without regard to cooldowns. */
const FREE = { mayGive: true, mayReceive: true };

/**
 * @param isAsked an operator wants it now: the band to act in, cooldowns and the budget, which keep
 * control from overdoing it by itself, do not apply
 */
export function makePlan(content: Content, on: Position, world: World, isAsked: boolean): Plan {
  const moving = new Set(content.moves.map((move) => move.shard));
  const planned = projectedOwners(content);
  const isIn = (index: number) =>
    world.edges[index]?.isAlive === true && content.edges[index]!.intent === 'none';
  const steps: Step[] = [];
  const problems: string[] = [];
  const projectedFor = (edge: (index: number) => Partial<BalanceEdge>) =>
    new ProjectedLoads<BalanceEdge>(
      world.edges.map(({ id, capacity, zone, mayGive, mayReceive }, index) => ({
        id,
        capacity,
        zone,
        mayGive: isAsked || mayGive,
        mayReceive: isAsked || mayReceive,
        isJoining: false,
        takesPart: isIn(index),
        ...edge(index),
      })),
      planned,
      world.loads,
    );
  const phase = (kind: Kind, moves: readonly PlannedMove[]) => {
    const problem = findPhaseProblem(moves, planned, moving, isIn);
    if (problem !== undefined) {
      problems.push(`${kind}: ${problem}`);
      return;
    }
    for (const { shard, from, to } of moves) {
      planned[shard] = to;
      moving.add(shard);
      const [fromId, toId] = [world.edges[from]!.id, world.edges[to]!.id];
      const connections = Math.round(world.loads.connections[shard]!);
      steps.push({ shard, from: fromId, to: toId, kind, connections });
    }
  };

  const isKnown = (index: number) => isIn(index) && world.edges[index]!.isKnown;
  const before = projectedFor(() => ({})).imbalance().maxOverMean;
  const isDraining = (index: number) =>
    content.edges[index]!.intent === 'draining' || world.edges[index]!.isPartitioned;
  phase(
    'removal',
    emptyEdges(
      projectedFor(() => ({})),
      isDraining,
      moving,
    ),
  );

  const joiners = findJoiners(projectedFor(() => ({})));
  const isJoiner = (index: number) => joiners.has(index);
  if (joiners.size > 0) {
    const joining = projectedFor((index) => ({
      isJoining: isJoiner(index),
      mayGive: !isJoiner(index),
      mayReceive: isJoiner(index),
    }));
    const isMovable = (shard: number) => !moving.has(shard);
    const meant = fillJoiners(joining, isJoiner, isMovable);
    const taken = new Set(meant.map((move) => move.shard));
    const others = rebalance(joining, {
      loadShareMax: 1,
      isMovable: (shard) => isMovable(shard) && !taken.has(shard),
    });
    phase('addition', [...meant, ...others]);
  }

  const isMeasured = (shard: number) => !moving.has(shard) && world.loads.isKnown[shard] === 1;
  const balancing = projectedFor((index) => ({ takesPart: isKnown(index) }));
  if (isAsked || content.isBalancing || isOutOfBand(balancing)) {
    const isMovable = (shard: number) => isMeasured(shard) && (isAsked || !world.isCooling(shard));
    const loadShareMax = isAsked ? 1 : LOAD_SHARE_MAX;
    phase('balancing', rebalance(balancing, { loadShareMax, isMovable }));
  }
  const end = projectedFor(() => ({}));
  const maxOverMean = { before, after: end.imbalance().maxOverMean };
  const irreducible = end.irreducible();

  const isAllKnown =
    content.edges.every(({ intent }, index) => intent !== 'none' || isKnown(index)) &&
    content.owners.every((owner, shard) => world.loads.isKnown[shard] === 1 || !isIn(owner));
  const hasSteps = steps.some(({ kind }) => kind !== 'removal');
  // What only has to wait for cooldowns and for the next budget is not finished.
  const free = () => projectedFor((index) => ({ takesPart: isKnown(index), ...FREE }));
  const hasMore = () => rebalance(free(), { loadShareMax: 1, isMovable: isMeasured }).length > 0;
  const isUnfinished = !isAllKnown || hasSteps || (content.isBalancing && hasMore());
  return { on, steps, maxOverMean, isUnfinished, irreducible, problems };
}

/**
 * Gives the shards of edges that are not there any more to those that are, at once: nobody serves
 * them. Unlike balancing it is bound by nothing but capacity.
 * @param owners with NO_OWNER for each such shard
 */
export function placeAtOnce(
  content: Content,
  owners: Uint16Array,
  world: Pick<World, 'edges' | 'loads'>,
): Uint16Array {
  const may = [
    (index: number) => world.edges[index]!.isAlive && content.edges[index]!.intent === 'none',
    (index: number) => world.edges[index]!.isAlive,
    () => true,
  ];
  // Better an edge that was to get nothing than none.
  const takesPart = may.find((test) => content.edges.some((_, index) => test(index))) ?? may[0]!;
  const edges = world.edges.map(({ id, capacity }, index) => ({
    id,
    capacity,
    takesPart: takesPart(index),
  }));
  const projected = new ProjectedLoads(edges, owners, world.loads);
  placeOrphans(projected);
  return projected.owners;
}

function emptyEdges(
  projected: ProjectedLoads,
  isDraining: (index: number) => boolean,
  moving: ReadonlySet<number>,
): PlannedMove[] {
  if (!projected.edges.some((edge) => edge.takesPart)) return [];
  const leaving = [...projected.owners.keys()].filter((shard) => {
    const owner = projected.owners[shard]!;
    return owner !== NO_OWNER && isDraining(owner) && !moving.has(shard);
  });
  const before = Uint16Array.from(projected.owners);
  for (const shard of leaving) projected.release(shard);
  placeOrphans(projected);
  return leaving.map((shard) => ({ shard, from: before[shard]!, to: projected.owners[shard]! }));
}

function findPhaseProblem(
  moves: readonly PlannedMove[],
  owners: Uint16Array,
  moving: ReadonlySet<number>,
  mayReceive: (index: number) => boolean,
): string | undefined {
  const seen = new Set(moving);
  for (const { shard, from, to } of moves) {
    if (seen.has(shard)) return `shard ${shard} would move twice`;
    seen.add(shard);
    if (owners[shard] !== from) return `shard ${shard} is not of edge ${from}`;
    if (from === to || !mayReceive(to)) return `shard ${shard} must not go to edge ${to}`;
  }
  return undefined;
}

/**
 * Edges that have just come, or were not filled before another came. It is seen from the number of
 * their shards: an edge that only says that it has no load is not given the others' shards for it.
 */
function findJoiners(projected: ProjectedLoads): Set<number> {
  const capacity = projected.edges.reduce((sum, e) => sum + (e.takesPart ? e.capacity : 0), 0);
  const joiners = [...projected.edges.entries()].filter(([index, edge]) => {
    const fairCount = (projected.owners.length * edge.capacity) / capacity;
    const isShort = projected.shards[index]!.size < fairCount / 2;
    return edge.takesPart && isShort && projected.ratio(index) < FILLED;
  });
  return new Set(joiners.map(([index]) => index));
}
