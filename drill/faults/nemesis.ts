/**
 * Injects the faults of a schedule into the cluster and its devices. "Nemesis" is Jepsen's word for
 * the process that breaks the system under test. Each fault is recorded as a disturbance that ends
 * when the cluster has recovered from it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalCluster } from '../../cli/local/cluster.js';
import { shardChannel, shardOf, shardTags } from '../../common/cluster/shard.js';
import type { Disturbance, HistoryInProgress } from '../history/history.js';
import type { Backend } from '../load/backend.js';
import type { Fleet } from '../load/fleet.js';
import { ClusterRedis } from './redis-cluster-fixture.js';
import { type RedisFixture, StandaloneRedis, SUBSCRIBER_LAG_BYTES_MAX } from './redis-fixture.js';
import type { ClusterFault, FaultKind, Scheduled } from './schedule.js';

const POLL_MS = 50;
/** More than Redis' limit by as much as the sockets on the way can buffer. */
const STALL_BYTES = SUBSCRIBER_LAG_BYTES_MAX + 8 * 1024 * 1024;
const STALL_PUSH_BYTES = 64 * 1024;
/** The default number of shards. */
const SHARDS = 4096;

export interface NemesisOptions {
  readonly cluster: LocalCluster;
  readonly redis: RedisFixture;
  readonly fleet: Fleet;
  readonly backend: Backend;
  readonly history: HistoryInProgress;
  /** Time in which a member must become ready again. */
  readonly recoveryMsMax: number;
  /** Aborts the faults in progress. */
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

export class Nemesis {
  readonly counts: Partial<Record<FaultKind, number>> = {};
  readonly #options: NemesisOptions;
  /** The last fault of each target. Faults of one target follow one another. */
  readonly #lastFaults = new Map<string, Promise<void>>();
  readonly #frozen = new Set<number>();

  constructor(options: NemesisOptions) {
    this.#options = options;
  }

  /** Resolves, or rejects, when no fault is in progress any more. */
  async run(schedule: readonly Scheduled[]): Promise<void> {
    const startMs = performance.now();
    const inProgress: Promise<void>[] = [];
    try {
      for (const fault of schedule) {
        const waitMs = startMs + fault.atMs - performance.now();
        if (waitMs > 0) await this.#sleep(waitMs);
        const injected = this.#inject(fault);
        // It may reject before `Promise.all` below handles it.
        injected.catch(() => {});
        inProgress.push(injected);
      }
      await Promise.all(inProgress);
    } finally {
      await Promise.allSettled(inProgress);
    }
  }

  /** To be called before the cluster is stopped: a frozen process cannot exit. */
  unfreezeAll(): void {
    for (const pid of this.#frozen) tryKill(pid, 'SIGCONT');
    this.#frozen.clear();
  }

  async #inject(fault: Scheduled): Promise<void> {
    const { fleet } = this.#options;
    switch (fault.kind) {
      case 'cut':
      case 'away':
      case 'takeover':
        this.#count(fault.kind);
        return fleet.inject(fault);
      // The pushes to the paused device may be too much for the subscriber of its edge, too.
      case 'pause':
        return this.#disturb(fault.kind, `device-${fault.device}`, () => fleet.inject(fault));
      default:
        return this.#injectInTurn(fault, this.#targetOf(fault));
    }
  }

  #injectInTurn(fault: ClusterFault, target: string): Promise<void> {
    const before = this.#lastFaults.get(target) ?? Promise.resolve();
    const injected = before.then(() =>
      this.#disturb(fault.kind, target, () => this.#injectIntoCluster(fault, target)),
    );
    // A failure does not stop the next fault of this target; `run` rejects with it.
    this.#lastFaults.set(
      target,
      injected.catch(() => {}),
    );
    return injected;
  }

  async #disturb(kind: FaultKind, target: string, fault: () => Promise<void>): Promise<void> {
    const { history, log } = this.#options;
    const disturbance: Disturbance = {
      kind,
      target,
      fromMs: performance.now(),
      toMs: Number.POSITIVE_INFINITY,
    };
    history.disturbances.push(disturbance);
    this.#count(kind);
    await fault();
    disturbance.toMs = performance.now();
    log(`${kind} ${target}: ${Math.round(disturbance.toMs - disturbance.fromMs)} ms`);
  }

  /** Resolves when the cluster has recovered from the fault. */
  async #injectIntoCluster(fault: ClusterFault, target: string): Promise<void> {
    const { cluster, redis, signal } = this.#options;
    switch (fault.kind) {
      case 'killEdge':
      case 'killRouter':
      case 'killControl':
        await cluster.kill(target);
        return this.#untilReady(target);
      case 'freezeEdge':
        await this.#freeze(target, fault.forMs);
        return this.#untilReady(target);
      case 'stallSubscriber':
        this.#floodEdge(target);
        await this.#freeze(target, fault.forMs);
        return this.#untilReady(target);
      case 'cutSubscriber':
        // A Redis that is down at the moment has lost these connections already.
        await redis.killConnections(`${target}-subscriber`).catch(() => 0);
        return this.#untilReady(target);
      case 'killRedis': {
        const standalone = requireStandalone(redis);
        await standalone.kill();
        await this.#sleep(fault.forMs);
        await standalone.startAgain();
        return this.#untilAllReady();
      }
      case 'killMaster':
        await requireCluster(redis).failOver(fault.master, fault.forMs, signal);
        return this.#untilAllReady();
      case 'moveSlot':
        await requireCluster(redis).moveSlotAndBack(this.#keyOf(fault.device), fault.forMs, signal);
        return this.#untilAllReady();
    }
  }

  async #freeze(name: string, forMs: number): Promise<void> {
    const pid = this.#options.cluster.pid(name);
    if (pid === undefined) return;
    this.#frozen.add(pid);
    tryKill(pid, 'SIGSTOP');
    await this.#sleep(forMs);
    tryKill(pid, 'SIGCONT');
    this.#frozen.delete(pid);
  }

  #sleep(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.#options.signal });
  }

  /** Sends more live-only pushes to the clients of one edge than its subscriber can take. */
  #floodEdge(edge: string): void {
    const { backend, cluster, fleet } = this.#options;
    const { host } = new URL(cluster.edgeUrl(edge));
    const devices = fleet.devices.filter((device) => device.edges().includes(host));
    if (devices.length === 0) return;
    for (let i = 0; i * STALL_PUSH_BYTES < STALL_BYTES; i++) {
      backend.push(devices[i % devices.length]!.clientId, false, STALL_PUSH_BYTES);
    }
  }

  async #untilAllReady(): Promise<void> {
    for (const name of this.#options.cluster.names) await this.#untilReady(name);
  }

  /** Resolves when the member is ready, or after `recoveryMsMax`. */
  async #untilReady(name: string): Promise<void> {
    const { cluster, log, recoveryMsMax } = this.#options;
    const deadlineMs = performance.now() + recoveryMsMax;
    while (performance.now() < deadlineMs) {
      const signal = AbortSignal.timeout(1_000);
      const answer = await fetch(`${cluster.httpUrl(name)}/readyz`, { signal }).catch(() => null);
      await answer?.body?.cancel();
      if (answer?.ok) return;
      await this.#sleep(POLL_MS);
    }
    log(`${name} is not ready after ${recoveryMsMax} ms`);
  }

  #targetOf(fault: ClusterFault): string {
    const { cluster } = this.#options;
    switch (fault.kind) {
      case 'killRouter':
        return cluster.namesOf('router')[fault.router]!;
      case 'killControl':
        return 'control';
      case 'killRedis':
      case 'killMaster':
      case 'moveSlot':
        return 'redis';
      default:
        return cluster.namesOf('edge')[fault.edge]!;
    }
  }

  /** A key in the Redis slot of the device's shard. */
  #keyOf(device: number): string {
    const { clientId } = this.#options.fleet.devices[device]!;
    return shardChannel(shardTags(SHARDS)[shardOf(clientId, SHARDS)]!);
  }

  #count(kind: FaultKind): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }
}

function requireStandalone(redis: RedisFixture): StandaloneRedis {
  if (redis instanceof StandaloneRedis) return redis;
  throw new Error('killRedis needs a standalone Redis; see possibleKinds');
}

function requireCluster(redis: RedisFixture): ClusterRedis {
  if (redis instanceof ClusterRedis) return redis;
  throw new Error('killMaster and moveSlot need a Redis Cluster; see possibleKinds');
}

function tryKill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // The process has died meanwhile.
  }
}
