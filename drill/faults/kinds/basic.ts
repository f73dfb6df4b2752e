/** Faults of every drill: processes, subscribers, and Redis itself. */
import type { LocalCluster } from '../../../cli/local/cluster.js';
import { shardOf, shardTags } from '../../../common/cluster/shard.js';
import type { Loss, PushLevel } from '../../history/history.js';
import { between } from '../random.js';
import { ClusterRedis } from '../redis-cluster-fixture.js';
import { type RedisFixture, StandaloneRedis, SUBSCRIBER_LAG_BYTES_MAX } from '../redis-fixture.js';
import { type FaultRun, faultKind } from './fault-kind.js';

/** Target of the faults of Redis itself: they follow one another. */
export const REDIS_TARGET = 'redis';

/** A replica that is connected lags less than this behind its master. */
const REPLICATION_MS = 1_000;

/** More than Redis' limit by as much as the sockets on the way can buffer. */
const STALL_BYTES = SUBSCRIBER_LAG_BYTES_MAX + 8 * 1024 * 1024;
const STALL_PUSH_BYTES = 64 * 1024;
/** The default number of shards. */
export const SHARDS = 4096;

export const BASIC_KINDS = {
  killEdge: faultKind({
    family: 'basic',
    effect: 'SIGKILL of an edge',
    recovery: 'it is restarted in place',
    draw: ({ edge }) => ({ edge }),
    target: edgeName,
    inject: (_, run) => kill(run),
  }),
  killRouter: faultKind({
    family: 'basic',
    effect: 'SIGKILL of a router',
    recovery: 'it is restarted in place',
    draw: ({ shape, random }) => ({ router: between(random, 0, shape.routers - 1) }),
    target: ({ router }, cluster) => cluster.namesOf('router')[router]!,
    inject: (_, run) => kill(run),
  }),
  killControl: faultKind({
    family: 'basic',
    effect: 'SIGKILL of control',
    recovery: 'it is restarted in place',
    draw: () => ({}),
    target: () => 'control',
    inject: (_, run) => kill(run),
  }),
  freezeEdge: faultKind({
    family: 'basic',
    isolates: true,
    effect: 'SIGSTOP of an edge for longer than its lease',
    recovery: 'SIGCONT',
    draw: ({ shape, random, edge }) => ({
      edge,
      forMs: shape.leaseMs + between(random, 1_000, 6_000),
    }),
    target: edgeName,
    async inject({ forMs }, run) {
      await run.freeze(run.target, forMs);
      await run.untilReady(run.target);
    },
  }),
  killRedis: faultKind({
    family: 'basic',
    redis: 'standalone',
    effect: 'SIGKILL of Redis',
    recovery: 'it is restarted from its append-only file, on the same port',
    draw: ({ random }) => ({ forMs: between(random, 0, 4_000) }),
    target: () => REDIS_TARGET,
    async inject({ forMs }, run) {
      const redis = requireStandalone(run.redis);
      await redis.kill();
      await run.sleep(forMs);
      await redis.startAgain();
      await run.untilAllReady();
    },
  }),
  cutSubscriber: faultKind({
    family: 'basic',
    effect: 'Redis closes the connection on which an edge receives pushes',
    recovery: 'the edge reconnects',
    draw: ({ edge }) => ({ edge }),
    target: edgeName,
    async inject(_, run) {
      // A Redis that is down at the moment has lost these connections already.
      await run.redis.killConnections(`${run.target}-subscriber`).catch(() => 0);
      await run.untilReady(run.target);
    },
  }),
  stallSubscriber: faultKind({
    family: 'basic',
    effect: 'an edge stops reading and receives so much that Redis disconnects its subscriber',
    recovery: 'the edge reads again and reconnects',
    draw: ({ random, edge }) => ({ edge, forMs: between(random, 1_000, 3_000) }),
    target: edgeName,
    async inject({ forMs }, run) {
      floodEdge(run);
      await run.freeze(run.target, forMs);
      await run.untilReady(run.target);
    },
  }),
  killMaster: faultKind({
    family: 'basic',
    redis: 'cluster',
    effect: 'SIGKILL of a master of Redis Cluster',
    recovery: 'its replica takes over, and it restarts as a replica',
    draw: ({ random }) => ({
      master: between(random, 0, 2),
      forMs: between(random, 4_000, 7_000),
    }),
    target: () => REDIS_TARGET,
    async inject({ master, forMs }, run) {
      const loss = beginLoss(run, ['accepted', 'fsynced'], REPLICATION_MS);
      await requireCluster(run.redis).failOver(master, forMs, run.signal);
      loss.toMs = performance.now();
      await run.untilAllReady();
    },
  }),
  moveSlot: faultKind({
    family: 'basic',
    redis: 'cluster',
    effect: 'the slot of a shard moves to another master of Redis Cluster',
    recovery: 'it moves back',
    draw: ({ shape, random }) => ({
      device: between(random, 0, shape.devicesBusy - 1),
      forMs: between(random, 200, 3_000),
    }),
    target: () => REDIS_TARGET,
    async inject({ device, forMs }, run) {
      await requireCluster(run.redis).moveSlotAndBack(keyOf(device, run), forMs, run.signal);
      await run.untilAllReady();
    },
  }),
};

/** Records what a fault may destroy that begins now. `agoMs`: also what was accepted before it. */
export function beginLoss(
  { disturbance }: FaultRun,
  levels: readonly PushLevel[],
  agoMs: number,
): Loss {
  const fromMs = performance.now() - agoMs;
  disturbance.loss = { levels, fromMs, toMs: Number.POSITIVE_INFINITY };
  return disturbance.loss;
}

export function edgeName(
  { edge }: { readonly edge: number },
  cluster: Pick<LocalCluster, 'namesOf'>,
): string {
  return cluster.namesOf('edge')[edge]!;
}

export function requireStandalone(redis: RedisFixture): StandaloneRedis {
  if (redis instanceof StandaloneRedis) return redis;
  throw new Error('a fault for a standalone Redis was scheduled; see possibleKinds');
}

export function requireCluster(redis: RedisFixture): ClusterRedis {
  if (redis instanceof ClusterRedis) return redis;
  throw new Error('a fault for a Redis Cluster was scheduled; see possibleKinds');
}

/** A key in the Redis slot of the device's shard: the hash tag alone decides the slot. */
export function keyOf(device: number, { fleet }: FaultRun): string {
  const { clientId } = fleet.devices[device]!;
  return `{${shardTags(SHARDS)[shardOf(clientId, SHARDS)]!}}`;
}

async function kill({ cluster, target, untilReady }: FaultRun): Promise<void> {
  await cluster.kill(target);
  await untilReady(target);
}

/** Sends more live-only pushes to the clients of the edge than its subscriber can take. */
function floodEdge({ backend, cluster, fleet, target }: FaultRun): void {
  const { host } = new URL(cluster.edgeUrl(target));
  const devices = fleet.devices.filter((device) => device.edges().includes(host));
  if (devices.length === 0) return;
  for (let i = 0; i * STALL_PUSH_BYTES < STALL_BYTES; i++) {
    backend.push(devices[i % devices.length]!.clientId, false, STALL_PUSH_BYTES);
  }
}
