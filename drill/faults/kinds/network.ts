/**
 * Faults of the network: links that are cut, in one direction or both, steadily or on and off, and
 * links that delay, lose, duplicate or reorder packets. No connection is closed by them.
 */
import type { LinkState, Network } from '../../network/network.js';
import { between, pick, type Random } from '../random.js';
import { CLUSTER_NODES, ClusterRedis } from '../redis-cluster-fixture.js';
import { type RedisFixture, redisName, STANDALONE_SERVERS } from '../redis-fixture.js';
import { beginLoss, edgeName, REDIS_TARGET, requireCluster } from './basic.js';
import { type Draw, type FaultRun, faultKind } from './fault-kind.js';

/** Groups of devices, each with links of its own. */
export const DEVICE_GROUPS = 4;

/** `there`: only packets from the first end of the links to the second are affected. */
type Direction = 'both' | 'there' | 'back';

interface Cut {
  readonly direction: Direction;
  /** Whether the links are whole again in between. */
  readonly isFlapping: boolean;
  readonly forMs: number;
}

/** Longer and shorter than timeouts, and than the lease of an edge. */
const CUT_MS = { min: 1_000, max: 12_000 };
const FLAP_MS = { cut: 700, whole: 400 };
const DAMAGE_MS = { min: 2_000, max: 8_000 };
/** Isolated masters are succeeded after their node timeout and an election. */
const ISOLATED_MS = { min: 3_000, max: 8_000 };
/** Seconds: the resolution of `min-replicas-max-lag`. */
const LAG_SECONDS_MAX = '2';

const RESTORED = 'the links are whole again';

export const NETWORK_KINDS = {
  cutEdgeFromRedis: faultKind({
    family: 'network',
    effect: 'the links of an edge to all servers of Redis are cut',
    recovery: RESTORED,
    draw: (draw) => ({ edge: draw.edge, ...drawCut(draw.random) }),
    target: edgeName,
    inject: (fault, run) => cut(fault, run, [run.target], redisNames(run.redis)),
  }),
  cutEdgeFromControl: faultKind({
    family: 'network',
    effect: 'the links of an edge to all controls are cut',
    recovery: RESTORED,
    draw: (draw) => ({ edge: draw.edge, ...drawCut(draw.random) }),
    target: edgeName,
    inject: (fault, run) => cut(fault, run, [run.target], run.cluster.namesOf('control')),
  }),
  cutRouterFromRedis: faultKind({
    family: 'network',
    effect: 'the links of a router to all servers of Redis are cut',
    recovery: RESTORED,
    draw: ({ shape, random }) => ({
      router: between(random, 0, shape.routers - 1),
      ...drawCut(random),
    }),
    target: ({ router }, cluster) => cluster.namesOf('router')[router]!,
    inject: (fault, run) => cut(fault, run, [run.target], redisNames(run.redis)),
  }),
  cutRouterFromControl: faultKind({
    family: 'network',
    effect: 'the links of a router to control are cut',
    recovery: RESTORED,
    draw: ({ shape, random }) => ({
      router: between(random, 0, shape.routers - 1),
      ...drawCut(random),
    }),
    target: ({ router }, cluster) => cluster.namesOf('router')[router]!,
    inject: (fault, run) => cut(fault, run, [run.target], run.cluster.namesOf('control')),
  }),
  cutLeaderFromRedis: faultKind({
    family: 'network',
    effect: 'the links of the leading control to all servers of Redis are cut, not those to edges',
    recovery: RESTORED,
    draw: ({ random }) => drawCut(random),
    target: () => 'control',
    async inject(fault, run) {
      await cut(fault, run, [await leader(run)], redisNames(run.redis));
    },
  }),
  cutDevices: faultKind({
    family: 'network',
    effect: 'the links of a group of devices to everything are cut, without a FIN',
    recovery: RESTORED,
    draw: ({ random }) => ({ group: between(random, 0, DEVICE_GROUPS - 1), ...drawCut(random) }),
    target: ({ group }) => `devices-${group}`,
    inject: (fault, run) =>
      cut(
        fault,
        run,
        [run.target],
        [...run.cluster.namesOf('router'), ...run.cluster.namesOf('edge')],
      ),
  }),
  isolateMaster: faultKind({
    family: 'network',
    redis: 'cluster',
    effect: 'the links of a master to all other servers of Redis are cut, not those to roles',
    recovery: `its replica takes over; ${RESTORED}, and it becomes a replica`,
    draw: drawIsolation,
    target: () => REDIS_TARGET,
    inject: isolateMaster,
  }),
  isolateGuardedMaster: faultKind({
    family: 'network',
    redis: 'cluster',
    effect: 'as isolateMaster, with min-replicas-to-write 1',
    recovery: `its replica takes over; ${RESTORED}, and it becomes a replica`,
    draw: drawIsolation,
    target: () => REDIS_TARGET,
    async inject(fault, run) {
      const redis = requireCluster(run.redis);
      await redis.configure('min-replicas-max-lag', LAG_SECONDS_MAX);
      await redis.configure('min-replicas-to-write', '1');
      try {
        await isolateMaster(fault, run);
      } finally {
        await redis.configure('min-replicas-to-write', '0');
      }
    },
  }),
  cutReplica: faultKind({
    family: 'network',
    redis: 'cluster',
    effect: 'the links between a master and its replica are cut',
    recovery: RESTORED,
    draw: ({ random }) => ({ master: between(random, 0, 2), ...drawCut(random) }),
    target: () => REDIS_TARGET,
    async inject(fault, run) {
      const redis = requireCluster(run.redis);
      const master = redisName(await redis.masterNode(fault.master));
      const replica = redisName(await redis.replicaNode(fault.master));
      await cut(fault, run, [master], [replica]);
      await redis.untilConverged();
    },
  }),
  delayPackets: faultKind({
    family: 'network',
    effect: 'packets between two kinds of processes are delayed',
    recovery: RESTORED,
    draw: ({ random }) => ({ ...drawDamage(random), delayMs: between(random, 10, 300) }),
    target: ({ between }) => between,
    inject: (fault, run) => damage(fault, run, { delayMs: fault.delayMs }),
  }),
  losePackets: faultKind({
    family: 'network',
    effect: 'packets between two kinds of processes are lost',
    recovery: RESTORED,
    draw: ({ random }) => ({ ...drawDamage(random), lost: between(random, 10_000, 200_000) }),
    target: ({ between }) => between,
    inject: (fault, run) => damage(fault, run, { lost: fault.lost }),
  }),
  duplicatePackets: faultKind({
    family: 'network',
    effect: 'packets between two kinds of processes are duplicated',
    recovery: RESTORED,
    draw: ({ random }) => ({
      ...drawDamage(random),
      duplicated: between(random, 100_000, 500_000),
    }),
    target: ({ between }) => between,
    inject: (fault, run) => damage(fault, run, { duplicated: fault.duplicated }),
  }),
  reorderPackets: faultKind({
    family: 'network',
    effect: 'packets between two kinds of processes are reordered',
    recovery: RESTORED,
    draw: ({ random }) => ({ ...drawDamage(random), reordered: between(random, 50_000, 300_000) }),
    target: ({ between }) => between,
    inject: (fault, run) => damage(fault, run, { reordered: fault.reordered }),
  }),
};

/** Ends of the links that a fault of packets damages. */
const LINKS = [
  'edges and redis',
  'routers and redis',
  'edges and control',
  'routers and control',
  'devices and edges',
  'redis and redis',
] as const;

function drawCut(random: Random): Cut {
  return {
    direction: pick(random, ['both', 'both', 'there', 'back'] as const),
    isFlapping: random() < 0.25,
    forMs: between(random, CUT_MS.min, CUT_MS.max),
  };
}

function drawIsolation({ random }: Draw) {
  return {
    master: between(random, 0, 2),
    forMs: between(random, ISOLATED_MS.min, ISOLATED_MS.max),
  };
}

function drawDamage(random: Random) {
  const direction: Direction = pick(random, ['both', 'there', 'back'] as const);
  return {
    between: pick(random, LINKS),
    direction,
    forMs: between(random, DAMAGE_MS.min, DAMAGE_MS.max),
  };
}

/** Resolves when the links are whole and the members at their ends ready again. */
async function cut(
  { direction, isFlapping, forMs }: Cut,
  run: FaultRun,
  from: readonly string[],
  to: readonly string[],
): Promise<void> {
  const endsAtMs = performance.now() + forMs;
  while (performance.now() < endsAtMs) {
    const cutMs = isFlapping ? FLAP_MS.cut : forMs;
    await impose(run, { from, to, direction }, { isCut: true }, cutMs);
    if (isFlapping) await run.sleep(FLAP_MS.whole);
  }
  const members = [...from, ...to].filter((name) => run.cluster.names.includes(name));
  for (const member of members) await run.untilReady(member);
}

async function damage(
  fault: { between: (typeof LINKS)[number]; direction: Direction; forMs: number },
  run: FaultRun,
  state: Partial<LinkState>,
): Promise<void> {
  const [from, to] = fault.between.split(' and ').map((kind) => namesOf(kind, run));
  await impose(run, { from: from!, to: to!, direction: fault.direction }, state, fault.forMs);
  await run.untilAllReady();
}

function namesOf(kind: string, { cluster, redis }: FaultRun): readonly string[] {
  switch (kind) {
    case 'edges':
      return cluster.namesOf('edge');
    case 'routers':
      return cluster.namesOf('router');
    case 'control':
      return cluster.namesOf('control');
    case 'devices':
      return Array.from({ length: DEVICE_GROUPS }, (_, group) => `devices-${group}`);
    default:
      return redisNames(redis);
  }
}

interface Links {
  readonly from: readonly string[];
  readonly to: readonly string[];
  readonly direction: Direction;
}

/** Changes the links for a while, also when the drill is stopped meanwhile. */
async function impose(
  run: FaultRun,
  { from, to, direction }: Links,
  state: Partial<LinkState>,
  forMs: number,
): Promise<void> {
  const network = requireNetwork(run);
  const undo: (() => Promise<void>)[] = [];
  if (direction !== 'back') undo.push(await network.impose(from, to, state));
  if (direction !== 'there') undo.push(await network.impose(to, from, state));
  try {
    await run.sleep(forMs);
  } finally {
    for (const each of undo) await each();
  }
}

/**
 * The isolated master accepts pushes until its node timeout, and they are lost when it becomes a
 * replica of its successor. What was accepted as replicated is not.
 */
async function isolateMaster(
  { master, forMs }: { readonly master: number; readonly forMs: number },
  run: FaultRun,
): Promise<void> {
  const redis = requireCluster(run.redis);
  const name = redisName(await redis.masterNode(master));
  const others = redisNames(redis).filter((other) => other !== name);
  const loss = beginLoss(run, ['accepted', 'fsynced'], 0);
  await impose(run, { from: [name], to: others, direction: 'both' }, { isCut: true }, forMs);
  await redis.untilConverged();
  loss.toMs = performance.now();
  await run.untilAllReady();
}

/** The control that leads; the first one if none says so. */
async function leader({ cluster }: FaultRun): Promise<string> {
  const names = cluster.namesOf('control');
  for (const name of names) {
    const signal = AbortSignal.timeout(1_000);
    const url = `${cluster.httpUrl(name)}/metrics`;
    const answer = await fetch(url, { signal }).catch(() => undefined);
    const text = await answer?.text().catch(() => '');
    if (/^longline_control_leader 1$/m.test(text ?? '')) return name;
  }
  return names[0]!;
}

function redisNames(redis: RedisFixture): string[] {
  const count = redis instanceof ClusterRedis ? CLUSTER_NODES : STANDALONE_SERVERS;
  return Array.from({ length: count }, (_, i) => redisName(i));
}

function requireNetwork({ network }: FaultRun): Network {
  if (network !== undefined) return network;
  throw new Error('a fault of the network was scheduled; see possibleKinds');
}
