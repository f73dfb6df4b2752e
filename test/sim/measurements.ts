/** What the balancing costs and reaches, in clusters without chaos. */
import { type Content, ownerOf, shardsOf } from '../../common/cluster/assignment.js';
import type { ShardLoads } from '../../control/placement/loads.js';
import {
  makePlan,
  type Plan,
  type World as PlanWorld,
  placeAtOnce,
} from '../../control/planning/plan.js';
import { ProjectedLoads } from '../../control/placement/projected-loads.js';
import { buildRing } from '../../control/placement/ring.js';
import {
  contentOf,
  loadsOf,
  planEdge,
  withIntent,
  worldOf,
} from '../control/planning/plan-inputs.js';
import { lognormal, seededRandom } from './random.js';
import type { SimEdge } from './sim-edge.js';
import { World } from './sim-cluster.js';

const ON = { incarnation: 0, epoch: 1 };
/** Edges may be this far from their share in the end; the lower bounds allow it, too. */
const TOLERANCE = 0.05;

/** The first joins and balancing are over. */
const SETTLED_MS = 600_000;

/** Loads are measured, and a plan has been made of them. */
const MOVES_BEGIN_MS = 120_000;

interface Case {
  readonly content: Content;
  readonly world: PlanWorld;
}

/** Moved clients over the least that any rebalancer has to move, and max over what is reachable. */
export function efficiency(seed: number) {
  const random = seededRandom(seed);
  const uniform = ratio(uniformCase(random));
  const skewed = ratio(skewedCase(random));
  return {
    uniform: uniform.moved,
    skewed: skewed.moved,
    join: joinRatio(random),
    leave: leaveRatio(random),
    maxOverReachable: [uniform.maxOverReachable, skewed.maxOverReachable],
  };
}

/** Clients at random, placed by the ring alone: its imbalance is what is to be mended. */
function uniformCase(random: () => number): Case {
  const edgeCount = 16;
  const counts = new Float64Array(4096);
  for (let client = 0; client < 200_000; client++) counts[Math.floor(4096 * random())]!++;
  const content = contentOf(edgeCount, 4096);
  // The names of the edges are part of the draw.
  const salt = Math.floor(1e9 * random());
  const names = content.edges.map(({ id }) => `${id}-${salt}`);
  const ring = buildRing(names.map((id) => ({ id, weight: 1 })));
  const owners = content.owners.map((_, shard) => names.indexOf(first(ring.preference(shard))));
  return caseOf({ ...content, owners }, loadsOf(counts));
}

/** Shards of very different sizes, placed by count; one of them is more than an edge's share. */
function skewedCase(random: () => number): Case {
  const edgeCount = 16;
  const loads = Float64Array.from({ length: 4096 }, () => Math.ceil(50 * lognormal(random, 1.5)));
  const total = loads.reduce((sum, load) => sum + load, 0);
  loads[Math.floor(4096 * random())] = Math.round((1.5 * total) / (edgeCount - 1.5));
  return caseOf(placed(edgeCount, loadsOf(new Float64Array(4096).fill(1))), loadsOf(loads));
}

function joinRatio(random: () => number): number {
  const loads = randomLoads(random);
  const before = placed(16, loads);
  const { content, world } = caseOf({ ...contentOf(17, 4096), owners: before.owners }, loads);
  const total = loads.load.reduce((sum, load) => sum + load, 0);
  return movedBy(makePlan(content, ON, world, true)) / (total / 17);
}

function leaveRatio(random: () => number): number {
  const loads = randomLoads(random);
  const before = placed(16, loads);
  const { content, world } = caseOf(withIntent(before, 3, 'draining'), loads);
  const held = loads.load.reduce((sum, load, i) => sum + (before.owners[i] === 3 ? load : 0), 0);
  return movedBy(makePlan(content, ON, world, true)) / held;
}

function randomLoads(random: () => number): ShardLoads {
  return loadsOf(Array.from({ length: 4096 }, () => Math.round(40 + 20 * random())));
}

function placed(edgeCount: number, loads: ShardLoads): Content {
  const { content, world } = caseOf(contentOf(edgeCount, loads.load.length), loads);
  return { ...content, owners: placeAtOnce(content, content.owners, world) };
}

function caseOf(content: Content, loads: ShardLoads): Case {
  const edges = content.edges.map((_, index) => planEdge(index));
  return { content, world: worldOf(edges, loads) };
}

function ratio({ content, world }: Case): { moved: number; maxOverReachable: number } {
  const projected = new ProjectedLoads(
    world.edges.map((edge) => ({ ...edge, takesPart: true })),
    content.owners,
    world.loads,
  );
  let above = 0;
  let below = 0;
  for (const [index, target] of projected.targets.entries()) {
    above += Math.max(0, projected.load[index]! - (1 + TOLERANCE) * target);
    below += Math.max(0, (1 - TOLERANCE) * target - projected.load[index]!);
  }
  const plan = makePlan(content, ON, world, true);
  for (const { shard, to } of plan.steps) {
    projected.book(
      shard,
      world.edges.findIndex(({ id }) => id === to),
    );
  }
  return {
    moved: movedBy(plan) / Math.max(above, below),
    maxOverReachable: projected.imbalance().maxOverReachable,
  };
}

function movedBy(plan: Plan): number {
  return plan.steps.reduce((sum, step) => sum + step.connections, 0);
}

/** How long a plan takes for shards of all sizes on that many edges, of which one has just come. */
export function planMs(shardCount: number, edgeCount: number): number {
  const random = seededRandom(shardCount);
  const loads = loadsOf(
    Float64Array.from({ length: shardCount }, () => Math.ceil(50 * lognormal(random, 1))),
  );
  const before = placed(edgeCount - 1, loadsOf(new Float64Array(shardCount).fill(1)));
  const content = { ...contentOf(edgeCount, shardCount), owners: before.owners };
  const { world } = caseOf(content, loads);
  const times = Array.from({ length: 5 }, () => {
    const start = performance.now();
    makePlan(content, ON, world, true);
    return performance.now() - start;
  });
  return times.toSorted((a, b) => a - b)[2]!;
}

/** Moves begun in half an hour in which clients come and go but nothing else happens. */
export function movesWhenStationary(seed: number): number {
  const world = quietWorld(seed, 0.5);
  world.agenda.runUntil(SETTLED_MS);
  const before = world.movesBegun;
  for (let minute = 0; minute < 30; minute++) {
    world.agenda.runUntil(world.nowMs + 60_000);
    world.flutter(0.05);
  }
  failIfViolated(world);
  return world.movesBegun - before;
}

/** The share of all clients that was moved while every edge restarted in place, one at a time. */
export function rollingRestartChurn(seed: number): number {
  const world = quietWorld(seed, 0.5);
  world.agenda.runUntil(SETTLED_MS);
  const before = world.clientsMoved;
  for (const edge of world.edges) {
    world.kill(edge, 5_000);
    world.agenda.runUntil(world.nowMs + 45_000);
  }
  world.agenda.runUntil(world.nowMs + 300_000);
  failIfViolated(world);
  return (world.clientsMoved - before) / world.sizes.reduce((sum, size) => sum + size, 0);
}

/**
 * An edge is cut from Redis only for some minutes. How many shards it owns at the end of that, and
 * of what it owned before, how much it has again a while after it has healed.
 */
export function cutFromRedis(seed: number): { left: number; regained: number } {
  const world = quietWorld(seed, 0.5);
  world.agenda.runUntil(SETTLED_MS);
  const [edge] = world.edges as [SimEdge];
  const owned = () => shardsOf(world.store.table!, edge.id).length;
  const before = owned();
  world.deafen(edge, 180_000);
  world.agenda.runUntil(world.nowMs + 170_000);
  const left = owned();
  world.agenda.runUntil(world.nowMs + SETTLED_MS);
  failIfViolated(world);
  return { left, regained: owned() / before };
}

/** Moves begun while all edges are cut from Redis for some minutes, and afterwards. */
export function movesWhenRedisIsGone(seed: number): number {
  const world = quietWorld(seed, 0.5);
  world.agenda.runUntil(SETTLED_MS);
  const before = world.movesBegun;
  for (const [index, edge] of world.edges.entries()) world.deafen(edge, 120_000 + 1_000 * index);
  world.agenda.runUntil(world.nowMs + SETTLED_MS);
  failIfViolated(world);
  return world.movesBegun - before;
}

/**
 * The shards of half of the edges become heavier. The leader begins to even that out and dies in the
 * middle of it, and so does the next one. How far the fullest edge is in the end from what can be
 * reached.
 */
export function leaderDeaths(seed: number): number {
  const world = quietWorld(seed, 0.5, 16);
  world.agenda.runUntil(SETTLED_MS);
  for (const edge of world.edges.slice(0, world.edges.length / 2)) world.grow(edge, 1.5);
  for (let deaths = 0; deaths < 2; deaths++) {
    const begun = world.movesBegun;
    const untilMs = world.nowMs + MOVES_BEGIN_MS;
    while (world.movesBegun === begun && world.nowMs < untilMs) {
      world.agenda.runUntil(world.nowMs + 1_000);
    }
    world.leader.isGone = true;
    world.agenda.runUntil(world.nowMs + 8_000);
    world.elect();
  }
  world.agenda.runUntil(world.nowMs + SETTLED_MS);
  failIfViolated(world);
  return world.maxOverReachable();
}

function quietWorld(seed: number, sigma: number, movesInFlightMax = 64): World {
  const random = seededRandom(seed);
  return new World({ random, shardCount: 1024, edgeCount: 8, movesInFlightMax, sigma });
}

function failIfViolated({ violations, store }: World): void {
  if (violations.length > 0) throw new Error(violations.join('; '));
  if (ownerOf(store.table!, 0) === undefined) throw new Error('nothing was assigned');
}

function first(ids: Iterable<string>): string {
  for (const id of ids) return id;
  throw new Error('the ring is empty');
}
