/**
 * Faults of Redis that destroy data or reject it: lost power, a full disk, eviction, a server that
 * returns empty or with an old backup, a replica that lacks the newest writes, a failover in the
 * middle of a slot migration. Each says which accept levels it may destroy.
 */
import { execFile } from 'node:child_process';
import { cp, rm, stat, truncate } from 'node:fs/promises';
import { promisify } from 'node:util';
import { shardOf } from '../../../common/cluster/shard.js';
import { between } from '../random.js';
import type { StandaloneRedis } from '../redis-fixture.js';
import {
  beginLoss,
  keyOf,
  REDIS_TARGET,
  requireCluster,
  requireStandalone,
  SHARDS,
} from './basic.js';
import { type FaultRun, faultKind } from './fault-kind.js';

/** Accepted by the roles: an operator may want it. */
export const EVICTION_POLICY = 'volatile-lru';

const ALL_LEVELS = ['accepted', 'fsynced', 'replicated'] as const;

/**
 * With `everysec`, Redis may write its append-only file this much later (`flushAppendOnlyFile`).
 */
const POSTPONED_MS = 2_000;
/** By then, Redis has fsynced what it had written when the policy became `everysec`. */
const FSYNCED_MS = 3_200;
/** Power loss takes what was written in the last second, or a part of it. */
const UNSYNCED_MS = 1_000;
/** Redis' clock is this machine's; ids and times of the drill are compared with this tolerance. */
const ID_MARGIN_MS = 1_000;
/** Keys that are moved before the master fails. */
const KEYS_MOVED = 2;

export const REDIS_FAULT_KINDS = {
  losePower: faultKind({
    family: 'redis-faults',
    redis: 'standalone',
    effect: 'appendfsync is everysec, and Redis loses power: the end of its file is missing',
    recovery: 'it is restarted with the rest of the file and appendfsync always',
    draw: ({ random }) => ({ missing: random(), forMs: between(random, 0, 3_000) }),
    target: () => REDIS_TARGET,
    inject: losePower,
  }),
  fillDisk: faultKind({
    family: 'redis-faults',
    redis: 'standalone',
    effect: 'Redis cannot write its append-only file any more, as with a full disk',
    recovery: 'it can again; with appendfsync always, it has exited and is restarted',
    draw: ({ random }) => ({ isAlways: random() < 0.5, forMs: between(random, 1_000, 4_000) }),
    target: () => REDIS_TARGET,
    inject: fillDisk,
  }),
  evictKeys: faultKind({
    family: 'redis-faults',
    redis: 'standalone',
    effect: 'Redis evicts keys that have a TTL (maxmemory-policy volatile-lru)',
    recovery: 'maxmemory-policy is noeviction again',
    draw: ({ random }) => ({
      percent: between(random, 2, 20),
      forMs: between(random, 500, 3_000),
    }),
    target: () => REDIS_TARGET,
    inject: evictKeys,
  }),
  emptyRedis: faultKind({
    family: 'redis-faults',
    redis: 'standalone',
    effect: 'SIGKILL of Redis, and its files are removed',
    recovery: 'it is started empty, on the same port',
    draw: ({ random }) => ({ forMs: between(random, 0, 3_000) }),
    target: () => REDIS_TARGET,
    async inject({ forMs }, run) {
      const redis = requireStandalone(run.redis);
      const loss = beginLoss(run, ALL_LEVELS, Number.POSITIVE_INFINITY);
      await redis.kill();
      const toUnixMs = Date.now() - ID_MARGIN_MS;
      await run.sleep(forMs);
      await rm(redis.folder, { recursive: true });
      await redis.startAgain();
      loss.toMs = performance.now();
      loss.unknownIds = { fromUnixMs: 0, toUnixMs, sinceMs: loss.toMs };
      await run.untilAllReady();
    },
  }),
  restoreBackup: faultKind({
    family: 'redis-faults',
    redis: 'standalone',
    effect: 'SIGKILL of Redis, and its files are replaced by an old backup',
    recovery: 'it is restarted with the backup, on the same port',
    draw: ({ random }) => ({ ageMs: between(random, 2_000, 8_000) }),
    target: () => REDIS_TARGET,
    async inject({ ageMs }, run) {
      const redis = requireStandalone(run.redis);
      const backup = `${redis.folder}-backup`;
      const loss = beginLoss(run, ALL_LEVELS, POSTPONED_MS);
      await cp(redis.folder, backup, { recursive: true });
      const fromUnixMs = Date.now() + ID_MARGIN_MS;
      await run.sleep(ageMs);
      await redis.kill();
      const toUnixMs = Date.now() - ID_MARGIN_MS;
      await rm(redis.folder, { recursive: true });
      await cp(backup, redis.folder, { recursive: true });
      await rm(backup, { recursive: true });
      await redis.startAgain();
      loss.toMs = performance.now();
      loss.unknownIds = { fromUnixMs, toUnixMs, sinceMs: loss.toMs };
      await run.untilAllReady();
    },
  }),
  moveName: faultKind({
    family: 'redis-faults',
    redis: 'standalone',
    effect: 'the name of Redis moves to a replica that was promoted; the former master lives on',
    recovery: 'all roles follow, then the former master is stopped',
    draw: () => ({}),
    target: () => REDIS_TARGET,
    async inject(_, run) {
      const redis = requireStandalone(run.redis);
      const loss = beginLoss(run, ['accepted', 'fsynced'], UNSYNCED_MS);
      const stopFormer = await redis.moveName();
      loss.toMs = performance.now();
      await stopFormer();
      await run.untilAllReady();
    },
  }),
  promoteStaleReplica: faultKind({
    family: 'redis-faults',
    redis: 'cluster',
    effect: 'a replica loses its master and, seconds later, succeeds it without the newest writes',
    recovery: 'the former master is restarted as a replica',
    draw: ({ random }) => ({
      master: between(random, 0, 2),
      ageMs: between(random, 1_000, 3_000),
      forMs: between(random, 4_000, 7_000),
    }),
    target: () => REDIS_TARGET,
    async inject({ master, ageMs, forMs }, run) {
      const redis = requireCluster(run.redis);
      const loss = beginLoss(run, ['accepted', 'fsynced'], UNSYNCED_MS);
      await redis.stopReplication(master);
      await run.sleep(ageMs);
      await redis.failOver(master, forMs, run.signal);
      loss.toMs = performance.now();
      await run.untilAllReady();
    },
  }),
  failOverWhileMoving: faultKind({
    family: 'redis-faults',
    redis: 'cluster',
    effect: 'a master fails while one of its slots is being moved, with a part of the keys moved',
    recovery: 'its replica takes over, and the move is completed',
    draw: ({ shape, random }) => ({
      device: between(random, 0, shape.devicesBusy - 1),
      forMs: between(random, 4_000, 7_000),
    }),
    target: () => REDIS_TARGET,
    async inject({ device, forMs }, run) {
      const redis = requireCluster(run.redis);
      const key = keyOf(device, run);
      // Keys that exist on both sides by then are a conflict, of which Redis keeps one.
      const loss = beginLoss(run, ALL_LEVELS, Number.POSITIVE_INFINITY);
      loss.clientIds = clientsBeside(device, run);
      await redis.failOverWhileMoving(key, KEYS_MOVED, forMs, run.signal);
      loss.toMs = performance.now();
      await run.untilAllReady();
    },
  }),
};

/** The clients of the same shard, whose keys are in the same slot. */
function clientsBeside(device: number, { fleet }: FaultRun): string[] {
  const shard = shardOf(fleet.devices[device]!.clientId, SHARDS);
  return fleet.devices
    .map(({ clientId }) => clientId)
    .filter((clientId) => shardOf(clientId, SHARDS) === shard);
}

/**
 * Everything that was written with `appendfsync always` is on disk and stays. Of what was written
 * since, the last second or a part of it is missing, from any byte on.
 */
async function losePower(
  { missing, forMs }: { readonly missing: number; readonly forMs: number },
  run: FaultRun,
): Promise<void> {
  const redis = requireStandalone(run.redis);
  await redis.configure('appendfsync', 'everysec');
  await run.sleep(FSYNCED_MS);
  const synced = await sizeOfFile(redis);
  const loss = beginLoss(run, ['accepted'], POSTPONED_MS);
  await run.sleep(UNSYNCED_MS);
  await redis.kill();
  const written = await sizeOfFile(redis);
  await truncate(await redis.fileName(), written - Math.floor(missing * (written - synced)));
  await run.sleep(forMs);
  await redis.startAgain();
  loss.toMs = performance.now();
  await run.untilAllReady();
}

async function sizeOfFile(redis: StandaloneRedis): Promise<number> {
  return (await stat(await redis.fileName())).size;
}

/**
 * A limit on the file size stands for a full disk: it needs no root, and leaves nothing behind.
 * Redis handles EFBIG like ENOSPC. With `always` it exits, as it can take nothing back.
 */
async function fillDisk(
  { isAlways, forMs }: { readonly isAlways: boolean; readonly forMs: number },
  run: FaultRun,
): Promise<void> {
  const redis = requireStandalone(run.redis);
  if (!isAlways) await redis.configure('appendfsync', 'everysec');
  const limit = (bytes: string) =>
    promisify(execFile)('prlimit', ['--pid', `${redis.pid}`, `--fsize=${bytes}`]);
  await limit(`${await sizeOfFile(redis)}:`);
  let hasExited = false;
  void redis.exited.then(() => {
    hasExited = true;
  });
  await run.sleep(forMs);
  if (!hasExited) {
    await limit('unlimited:').catch(() => {});
    await redis.configure('appendfsync', 'always').catch(() => {});
    // It tries again once a second. Until then, a kill would lose what it has only in memory.
    while (!hasExited && !(await redis.hasWritten().catch(() => true))) await run.sleep(50);
  }
  // It may exit at the last moment.
  if (hasExited) await redis.startAgain();
  await run.untilAllReady();
}

async function evictKeys(
  { percent, forMs }: { readonly percent: number; readonly forMs: number },
  run: FaultRun,
): Promise<void> {
  const redis = requireStandalone(run.redis);
  const loss = beginLoss(run, ALL_LEVELS, Number.POSITIVE_INFINITY);
  const used = await redis.usedMemory();
  await redis.configure('maxmemory-policy', EVICTION_POLICY);
  await redis.configure('maxmemory', `${Math.floor((used * (100 - percent)) / 100)}`);
  await run.sleep(forMs);
  await redis.configure('maxmemory', '0');
  await redis.configure('maxmemory-policy', 'noeviction');
  loss.toMs = performance.now();
  await run.untilAllReady();
}
