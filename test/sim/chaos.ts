/**
 * One round of chaos: a seeded cluster to which everything happens at once for some minutes, and
 * which must then come to rest: all edges served by one control, no move left, and, after an
 * operator has asked for it, as even as it can be.
 */
import { comparePositions, type Intent } from '../../common/cluster/assignment.js';
import { isSameContent } from '../../control/planning/transitions.js';
import { seededRandom } from './random.js';
import type { Lie, SimEdge } from './sim-edge.js';
import { World } from './sim-cluster.js';

const CHAOS_MS = 120_000;
/** Leases, freezes, deadlines and cooldowns of failed edges must be over. */
const CALM_MS = 150_000;
/** The moves of the operator's plan. */
const BALANCING_MS = 240_000;
const TRIES = 4;

export interface RoundResult {
  readonly violations: readonly string[];
  /** Over the best that shards of these sizes allow. */
  readonly maxOverReachable: number;
}

/** @param sabotage what to break in the world, to see that it is noticed */
export function chaosRound(seed: number, sabotage: (world: World) => void = () => {}): RoundResult {
  const random = seededRandom(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
  const world = new World({
    random,
    shardCount: 128,
    edgeCount: 3 + Math.floor(random() * 4),
    movesInFlightMax: 8,
    sigma: pick([0, 0.5, 1]),
  });
  sabotage(world);
  world.agenda.runUntil(5_000);

  world.badness = 1;
  const shocks: ((edge: SimEdge) => void)[] = [
    () => world.edges.length < 9 && world.addEdge(),
    (edge) => world.upEdges.length > 1 && world.kill(edge, Number.POSITIVE_INFINITY),
    (edge) => world.kill(edge, 1_000 + random() * 5_000),
    (edge) => world.kill(edge, 5_000 + random() * 30_000),
    (edge) => world.cut(edge, random() * 30_000),
    (edge) => world.deafen(edge, random() * 60_000),
    () => {
      for (const edge of world.upEdges) if (random() < 0.8) world.deafen(edge, random() * 40_000);
    },
    () => {
      for (const edge of world.upEdges) if (random() < 0.7) world.cut(edge, random() * 20_000);
    },
    (edge) => {
      edge.lie = pick<Lie>(['zero', 'tenfold', 'frozen', 'garbage', 'none']);
    },
    (edge) => {
      const intent = pick<Intent>(['draining', 'cordoned', 'none']);
      if (world.leader.planner.rejectIntent(edge.id, intent, false) === undefined) {
        world.leader.tell({ type: 'intent', edgeId: edge.id, intent });
      }
    },
    () => {
      world.leader.stalledUntilMs = world.nowMs + random() * 40_000;
      if (random() < 0.7) world.elect();
    },
    () => world.elect(),
    () => {
      world.leader.isGone = true;
      world.elect();
    },
    () => world.store.loseWrites(1 + Math.floor(4 * random())),
    () => world.leader.tell({ type: pick(['pause', 'abort', 'resume'] as const) }),
    () =>
      world.leader.membership.frozenUntilMs &&
      world.leader.onMember({ type: 'confirm-lost-edges' }),
    () => {
      const plan = world.leader.planner.preview(world.nowMs);
      if (plan !== undefined) world.leader.tell({ type: 'apply', plan });
    },
  ];
  while (world.nowMs < CHAOS_MS) {
    world.agenda.runUntil(world.nowMs + random() * 12_000);
    pick(shocks)(pick(world.edges));
  }

  world.badness = 0;
  for (const edge of world.edges) {
    edge.lie = 'none';
    edge.startsUnsubscribed = false;
  }
  for (const control of world.controls.slice(0, -1)) control.isGone = true;
  world.elect();
  world.controls.at(-2)!.isGone = true;
  for (const edge of world.upEdges) world.cut(edge, 0);
  world.agenda.runUntil(CHAOS_MS + CALM_MS / 2);
  for (const { id, intent } of world.store.table!.edges) {
    if (intent === 'cordoned') world.leader.tell({ type: 'intent', edgeId: id, intent: 'none' });
  }
  world.agenda.runUntil(CHAOS_MS + CALM_MS);
  // The operator's plan is rejected while control carries out one of its own.
  for (let tries = 0; tries < TRIES; tries++) {
    const { planner } = world.leader;
    const plan = planner.preview(world.nowMs);
    if (plan !== undefined) world.leader.tell({ type: 'apply', plan });
    world.agenda.runUntil(world.nowMs + BALANCING_MS / TRIES);
  }
  checkRest(world);
  return { violations: world.violations, maxOverReachable: world.maxOverReachable() };
}

function checkRest(world: World): void {
  const table = world.store.table!;
  const { planner } = world.leader;
  if (planner.problem !== undefined) world.violate(`the planner stumbled: ${planner.problem}`);
  if (table.moves.length > 0) world.violate(`${table.moves.length} moves do not end`);
  if (planner.queue.length > 0) world.violate(`${planner.queue.length} moves do not begin`);
  const up = world.upEdges.map(({ id }) => id).sort();
  const listed = table.edges.map(({ id }) => id);
  if (up.join() !== listed.join()) world.violate(`edges ${up} are up, ${listed} are listed`);
  for (const { id, table: known } of world.upEdges) {
    const isCurrent = known !== undefined && comparePositions(known.position, table.position) === 0;
    if (!isCurrent || !isSameContent(known, table)) world.violate(`${id} does not follow`);
  }
  const owned = new Set(table.owners);
  for (const [index, { id, intent }] of table.edges.entries()) {
    const others = table.edges.some((other) => other.intent === 'none');
    if (intent === 'draining' && others && owned.has(index)) world.violate(`${id} is not drained`);
  }
}
