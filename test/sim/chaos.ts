/**
 * One round of chaos: a seeded cluster with all kinds of faults at once for two minutes. Afterwards
 * it must converge: all edges follow one control, no move is left, and after a rebalance that an
 * operator requests the load is as even as possible.
 */

import type { Assignment, Intent } from '../../common/cluster/assignment.js';
import { comparePositions } from '../../common/wire/position.js';
import { isSameContent } from '../../control/planning/transitions.js';
import { seededRandom } from './random.js';
import { SimCluster } from './sim-cluster.js';
import type { ReportFault, SimEdge } from './sim-edge.js';

const CHAOS_MS = 120_000;
/** Long enough for leases, freezes, deadlines and cooldowns of failed edges to end. */
const CALM_MS = 150_000;
/** Long enough for the moves of the operator's plan. */
const BALANCING_MS = 240_000;
const TRIES = 4;
/**
 * Nothing may change for this time in the end: control plans again meanwhile, and finds nothing.
 */
const SETTLED_MS = 35_000;
/** Time until then at most. Long enough to move every shard once more, and slowly. */
const SETTLING_MS = 600_000;

export interface RoundResult {
  readonly violations: readonly string[];
  /** Load of the fullest edge, divided by the best that shards of these sizes allow. */
  readonly maxOverReachable: number;
}

/** @param sabotage breaks the model, to prove that violations are found */
export function chaosRound(
  seed: number,
  sabotage: (cluster: SimCluster) => void = () => {},
): RoundResult {
  const random = seededRandom(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
  const cluster = new SimCluster({
    random,
    shardCount: 128,
    edgeCount: 3 + Math.floor(random() * 4),
    movesInFlightMax: 8,
    sigma: pick([0, 0.5, 1]),
  });
  sabotage(cluster);
  cluster.clock.runUntil(5_000);

  cluster.faultRate = 1;
  const faults: ((edge: SimEdge) => void)[] = [
    () => cluster.edges.length < 9 && cluster.addEdge(),
    (edge) => cluster.upEdges.length > 1 && cluster.kill(edge, Number.POSITIVE_INFINITY),
    (edge) => cluster.kill(edge, 1_000 + random() * 5_000),
    (edge) => cluster.kill(edge, 5_000 + random() * 30_000),
    (edge) => cluster.kill(edge, 1_000 + random() * 30_000, true),
    (edge) => cluster.cutFromControl(edge, random() * 30_000),
    (edge) => cluster.rejectFromControl(edge, random() * 30_000),
    () => {
      for (const edge of cluster.upEdges)
        if (random() < 0.7) cluster.rejectFromControl(edge, random() * 20_000);
    },
    () => {
      for (const edge of cluster.upEdges.slice(1))
        if (random() < 0.5) cluster.kill(edge, 1_000 + random() * 20_000);
    },
    () => {
      const reported = pick(cluster.edges);
      cluster.leader.onMembershipEvent({
        type: 'closed-port-reported',
        edgeId: reported.id,
        incarnation: `i${reported.incarnation}`,
      });
    },
    (edge) => cluster.cutFromRedis(edge, random() * 60_000),
    () => {
      for (const edge of cluster.upEdges)
        if (random() < 0.8) cluster.cutFromRedis(edge, random() * 40_000);
    },
    () => {
      for (const edge of cluster.upEdges)
        if (random() < 0.7) cluster.cutFromControl(edge, random() * 20_000);
    },
    (edge) => {
      edge.reportFault = pick<ReportFault>(['zero', 'tenfold', 'frozen', 'garbage', 'none']);
    },
    (edge) => {
      const intent = pick<Intent>(['draining', 'cordoned', 'none']);
      if (cluster.leader.planner.rejectIntent(edge.id, intent, false) === undefined) {
        cluster.leader.handle({ type: 'intent', edgeId: edge.id, intent });
      }
    },
    () => {
      cluster.leader.stalledUntilMs = cluster.nowMs + random() * 40_000;
      if (random() < 0.7) cluster.elect();
    },
    () => cluster.elect(),
    () => {
      cluster.leader.isStopped = true;
      cluster.elect();
    },
    () => cluster.loseWrites(1 + Math.floor(4 * random())),
    () => cluster.leader.handle({ type: pick(['pause', 'abort', 'resume'] as const) }),
    () =>
      cluster.leader.membership.frozenUntilMs &&
      cluster.leader.onMembershipEvent({ type: 'confirm-lost-edges' }),
    () => {
      const plan = cluster.leader.planner.preview(cluster.nowMs);
      if (plan !== undefined) cluster.leader.handle({ type: 'apply', plan });
    },
  ];
  while (cluster.nowMs < CHAOS_MS) {
    cluster.clock.runUntil(cluster.nowMs + random() * 12_000);
    pick(faults)(pick(cluster.edges));
  }

  cluster.faultRate = 0;
  for (const edge of cluster.edges) {
    edge.reportFault = 'none';
    edge.isCutFromRedis = false;
    edge.rejectsControl = false;
  }
  for (const control of cluster.controls.slice(0, -1)) control.isStopped = true;
  cluster.elect();
  cluster.controls.at(-2)!.isStopped = true;
  for (const edge of cluster.upEdges) cluster.cutFromControl(edge, 0);
  cluster.clock.runUntil(CHAOS_MS + CALM_MS / 2);
  for (const { id, intent } of cluster.store.assignment!.edges) {
    if (intent === 'cordoned')
      cluster.leader.handle({ type: 'intent', edgeId: id, intent: 'none' });
  }
  cluster.clock.runUntil(CHAOS_MS + CALM_MS);
  // The operator's plan is rejected while control carries out one of its own.
  for (let tries = 0; tries < TRIES; tries++) {
    const { planner } = cluster.leader;
    const plan = planner.preview(cluster.nowMs);
    if (plan !== undefined) cluster.leader.handle({ type: 'apply', plan });
    cluster.clock.runUntil(cluster.nowMs + BALANCING_MS / TRIES);
  }
  settle(cluster);
  checkConverged(cluster);
  return { violations: cluster.violations, maxOverReachable: cluster.maxOverReachable() };
}

/** A drain of many shards may have begun late, and the operator's last plan after it. */
function settle(cluster: SimCluster): void {
  const { store, nowMs: sinceMs } = cluster;
  let before: Assignment | undefined;
  while (store.assignment !== before && cluster.nowMs < sinceMs + SETTLING_MS) {
    before = store.assignment;
    cluster.clock.runUntil(cluster.nowMs + SETTLED_MS);
  }
  if (store.assignment !== before) cluster.addViolation('the assignment does not settle');
}

function checkConverged(cluster: SimCluster): void {
  const assignment = cluster.store.assignment!;
  const { planner } = cluster.leader;
  if (planner.problem !== undefined)
    cluster.addViolation(`the planner discarded a change: ${planner.problem}`);
  if (assignment.moves.length > 0)
    cluster.addViolation(`${assignment.moves.length} moves do not end`);
  if (planner.queue.length > 0) cluster.addViolation(`${planner.queue.length} moves do not start`);
  const up = cluster.upEdges.map(({ id }) => id).sort();
  const listed = assignment.edges.map(({ id }) => id);
  if (up.join() !== listed.join()) cluster.addViolation(`edges ${up} are up, ${listed} are listed`);
  for (const { id, assignment: known } of cluster.upEdges) {
    const isCurrent =
      known !== undefined && comparePositions(known.position, assignment.position) === 0;
    if (!isCurrent || !isSameContent(known, assignment))
      cluster.addViolation(`${id} does not have the assignment`);
  }
  const owned = new Set(assignment.owners);
  for (const [index, { id, intent }] of assignment.edges.entries()) {
    const others = assignment.edges.some((other) => other.intent === 'none');
    if (intent === 'draining' && others && owned.has(index))
      cluster.addViolation(`${id} is not drained`);
  }
}
