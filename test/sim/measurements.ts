/** Cost and result of balancing, in clusters without faults. */
import { type Content, ownerOf, shardsOf } from '../../common/cluster/assignment.js';
import type { ShardLoads } from '../../control/placement/loads.js';
import { ProjectedLoads } from '../../control/placement/projected-loads.js';
import { buildRing } from '../../control/placement/ring.js';
import { assignUnowned } from '../../control/planning/assign-unowned.js';
import { makePlan } from '../../control/planning/make-plan.js';
import type { Plan, PlanInputs } from '../../control/planning/plan.js';
import {
  contentOf,
  inputsOf,
  loadsOf,
  planEdge,
  withIntent,
} from '../control/planning/plan-inputs.js';
import { lognormal, seededRandom } from './random.js';
import { SimCluster } from './sim-cluster.js';
import type { SimEdge } from './sim-edge.js';

const ON = { incarnation: 0, epoch: 1 };
/** Accepted deviation from the target, which the lower bounds allow, too. */
const TOLERANCE = 0.05;

/** Long enough for the first joins and balancing. */
const CONVERGED_MS = 600_000;

/** Long enough for loads to be measured and moves to start. */
const MOVES_START_MS = 120_000;

interface Case {
  readonly content: Content;
  readonly cluster: PlanInputs;
}

/** Moved clients over the least that any rebalancer has to move, and max over reachable load. */
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

/** Random clients on shards placed by the ring alone, whose imbalance has to be corrected. */
function uniformCase(random: () => number): Case {
  const edgeCount = 16;
  const counts = new Float64Array(4096);
  for (let client = 0; client < 200_000; client++) counts[Math.floor(4096 * random())]!++;
  const content = contentOf(edgeCount, 4096);
  // Random names give a random ring.
  const salt = Math.floor(1e9 * random());
  const names = content.edges.map(({ id }) => `${id}-${salt}`);
  const ring = buildRing(names.map((id) => ({ id, weight: 1 })));
  const owners = content.owners.map((_, shard) => names.indexOf(first(ring.preference(shard))));
  return caseOf({ ...content, owners }, loadsOf(counts));
}

/** Shards of very different sizes, placed by count; one is heavier than an edge's share. */
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
  const { content, cluster } = caseOf({ ...contentOf(17, 4096), owners: before.owners }, loads);
  const total = loads.load.reduce((sum, load) => sum + load, 0);
  return movedBy(makePlan(content, ON, cluster, true)) / (total / 17);
}

function leaveRatio(random: () => number): number {
  const loads = randomLoads(random);
  const before = placed(16, loads);
  const { content, cluster } = caseOf(withIntent(before, 3, 'draining'), loads);
  const onLeaver = loads.load.reduce(
    (sum, load, i) => sum + (before.owners[i] === 3 ? load : 0),
    0,
  );
  return movedBy(makePlan(content, ON, cluster, true)) / onLeaver;
}

function randomLoads(random: () => number): ShardLoads {
  return loadsOf(Array.from({ length: 4096 }, () => Math.round(40 + 20 * random())));
}

function placed(edgeCount: number, loads: ShardLoads): Content {
  const { content, cluster } = caseOf(contentOf(edgeCount, loads.load.length), loads);
  return { ...content, owners: assignUnowned(content, content.owners, cluster) };
}

function caseOf(content: Content, loads: ShardLoads): Case {
  const edges = content.edges.map((_, index) => planEdge(index));
  return { content, cluster: inputsOf(edges, loads) };
}

function ratio({ content, cluster }: Case): { moved: number; maxOverReachable: number } {
  const projected = new ProjectedLoads(
    cluster.edges.map((edge) => ({ ...edge, isEligible: true })),
    content.owners,
    cluster.loads,
  );
  let above = 0;
  let below = 0;
  for (const [index, target] of projected.targets.entries()) {
    above += Math.max(0, projected.load[index]! - (1 + TOLERANCE) * target);
    below += Math.max(0, (1 - TOLERANCE) * target - projected.load[index]!);
  }
  const plan = makePlan(content, ON, cluster, true);
  for (const { shard, to } of plan.steps) {
    projected.assign(
      shard,
      cluster.edges.findIndex(({ id }) => id === to),
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

/** Duration of making a plan, for shards of all sizes and one edge that has just joined. */
export function planMs(shardCount: number, edgeCount: number): number {
  const random = seededRandom(shardCount);
  const loads = loadsOf(
    Float64Array.from({ length: shardCount }, () => Math.ceil(50 * lognormal(random, 1))),
  );
  const before = placed(edgeCount - 1, loadsOf(new Float64Array(shardCount).fill(1)));
  const content = { ...contentOf(edgeCount, shardCount), owners: before.owners };
  const { cluster } = caseOf(content, loads);
  const times = Array.from({ length: 5 }, () => {
    const start = performance.now();
    makePlan(content, ON, cluster, true);
    return performance.now() - start;
  });
  return times.toSorted((a, b) => a - b)[2]!;
}

/**
 * Moves started in half an hour in which clients connect and disconnect but nothing else happens.
 */
export function movesWhenStationary(seed: number): number {
  const cluster = quietWorld(seed, 0.5);
  cluster.clock.runUntil(CONVERGED_MS);
  const before = cluster.movesStarted;
  for (let minute = 0; minute < 30; minute++) {
    cluster.clock.runUntil(cluster.nowMs + 60_000);
    cluster.churn(0.05);
  }
  failIfViolated(cluster);
  return cluster.movesStarted - before;
}

/** Share of all clients that moved while every edge restarted in place, one at a time. */
export function rollingRestartChurn(seed: number): number {
  const cluster = quietWorld(seed, 0.5);
  cluster.clock.runUntil(CONVERGED_MS);
  const before = cluster.clientsMoved;
  for (const edge of cluster.edges) {
    cluster.kill(edge, 5_000, true);
    cluster.clock.runUntil(cluster.nowMs + 45_000);
  }
  cluster.clock.runUntil(cluster.nowMs + 300_000);
  failIfViolated(cluster);
  return (cluster.clientsMoved - before) / cluster.sizes.reduce((sum, size) => sum + size, 0);
}

/**
 * One edge cannot reach Redis for three minutes. Returns the number of shards that it owns at the
 * end of that, and the share of its earlier shards that it has again after it has recovered.
 */
export function partitionOneEdge(seed: number): { left: number; regained: number } {
  const cluster = quietWorld(seed, 0.5);
  cluster.clock.runUntil(CONVERGED_MS);
  const [edge] = cluster.edges as [SimEdge];
  const owned = () => shardsOf(cluster.store.assignment!, edge.id).length;
  const before = owned();
  cluster.cutFromRedis(edge, 180_000);
  cluster.clock.runUntil(cluster.nowMs + 170_000);
  const left = owned();
  cluster.clock.runUntil(cluster.nowMs + CONVERGED_MS);
  failIfViolated(cluster);
  return { left, regained: owned() / before };
}

/** Moves started while no edge can reach Redis for some minutes, and afterwards. */
export function movesWhenRedisIsUnreachable(seed: number): number {
  const cluster = quietWorld(seed, 0.5);
  cluster.clock.runUntil(CONVERGED_MS);
  const before = cluster.movesStarted;
  for (const [index, edge] of cluster.edges.entries())
    cluster.cutFromRedis(edge, 120_000 + 1_000 * index);
  cluster.clock.runUntil(cluster.nowMs + CONVERGED_MS);
  failIfViolated(cluster);
  return cluster.movesStarted - before;
}

/**
 * The shards of half of the edges become heavier. The leader starts balancing and dies in the
 * middle of it, and so does the next one. Returns the load of the fullest edge in the end, divided
 * by the best that can be reached.
 */
export function leaderDeaths(seed: number): number {
  const cluster = quietWorld(seed, 0.5, 16);
  cluster.clock.runUntil(CONVERGED_MS);
  for (const edge of cluster.edges.slice(0, cluster.edges.length / 2)) cluster.grow(edge, 1.5);
  for (let deaths = 0; deaths < 2; deaths++) {
    const started = cluster.movesStarted;
    const untilMs = cluster.nowMs + MOVES_START_MS;
    while (cluster.movesStarted === started && cluster.nowMs < untilMs) {
      cluster.clock.runUntil(cluster.nowMs + 1_000);
    }
    cluster.leader.isStopped = true;
    cluster.clock.runUntil(cluster.nowMs + 8_000);
    cluster.elect();
  }
  cluster.clock.runUntil(cluster.nowMs + CONVERGED_MS);
  failIfViolated(cluster);
  return cluster.maxOverReachable();
}

function quietWorld(seed: number, sigma: number, movesInFlightMax = 64): SimCluster {
  const random = seededRandom(seed);
  return new SimCluster({ random, shardCount: 1024, edgeCount: 8, movesInFlightMax, sigma });
}

function failIfViolated({ violations, store }: SimCluster): void {
  if (violations.length > 0) throw new Error(violations.join('; '));
  if (ownerOf(store.assignment!, 0) === undefined) throw new Error('shard 0 has no owner');
}

function first(ids: Iterable<string>): string {
  for (const id of ids) return id;
  throw new Error('the ring is empty');
}
