/** Does to the cluster what the schedule says, and notes how long it took until it was whole again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalCluster } from '../../cli/local/cluster.js';
import { shardChannel, shardOf, shardTags } from '../../common/cluster/shard.js';
import type { Disturbance, HistoryInProgress } from '../history/history.js';
import type { Backend } from '../load/backend.js';
import type { Fleet } from '../load/fleet.js';
import { ClusterStore } from './cluster-store.js';
import type { ClusterFault, FaultKind, Scheduled } from './schedule.js';
import { StandaloneStore, type Store, SUBSCRIBER_LAG_BYTES_MAX } from './store.js';

const POLL_MS = 50;
/** Beyond Redis' own bound, what the sockets on the way swallow. */
const STALL_BYTES = SUBSCRIBER_LAG_BYTES_MAX + 8 * 1024 * 1024;
/** What a cluster has unless it is configured otherwise. */
const SHARDS = 4096;
const STALL_PUSH_BYTES = 64 * 1024;

export interface NemesisOptions {
  readonly cluster: LocalCluster;
  readonly store: Store;
  readonly fleet: Fleet;
  readonly backend: Backend;
  readonly history: HistoryInProgress;
  /** How long a member may take to be ready again. */
  readonly patienceMs: number;
  /** Ends what is under way. */
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

export class Nemesis {
  readonly counts: Partial<Record<FaultKind, number>> = {};
  readonly #options: NemesisOptions;
  /** What is being done to each target: two faults of one target wait for each other. */
  readonly #busy = new Map<string, Promise<void>>();
  readonly #frozen = new Set<number>();

  constructor(options: NemesisOptions) {
    this.#options = options;
  }

  /** Resolves when the last fault is over. However it ends, nothing is under way then. */
  async run(schedule: readonly Scheduled[]): Promise<void> {
    const startMs = performance.now();
    const underWay: Promise<void>[] = [];
    try {
      for (const fault of schedule) {
        const waitMs = startMs + fault.atMs - performance.now();
        if (waitMs > 0) await this.#sleep(waitMs);
        const doing = this.#befall(fault);
        // Also when it fails before anybody waits for it.
        doing.catch(() => {});
        underWay.push(doing);
      }
      await Promise.all(underWay);
    } finally {
      await Promise.allSettled(underWay);
    }
  }

  /** For the end, however it comes: a stopped process cannot stop. */
  thaw(): void {
    for (const pid of this.#frozen) tryKill(pid, 'SIGCONT');
    this.#frozen.clear();
  }

  async #befall(fault: Scheduled): Promise<void> {
    const { fleet } = this.#options;
    switch (fault.kind) {
      case 'cut':
      case 'away':
      case 'takeover':
        this.#count(fault.kind);
        return fleet.befall(fault);
      // What the device gets meanwhile may be too much for its edge's subscriber, too.
      case 'pause':
        return this.#disturb(fault.kind, `device-${fault.device}`, () => fleet.befall(fault));
      default:
        return this.#inTurn(fault, this.#targetOf(fault));
    }
  }

  #inTurn(fault: ClusterFault, target: string): Promise<void> {
    const before = this.#busy.get(target) ?? Promise.resolve();
    const doing = before.then(() =>
      this.#disturb(fault.kind, target, () => this.#do(fault, target)),
    );
    // The next one of this target need not know that this one failed; `run` does.
    this.#busy.set(
      target,
      doing.catch(() => {}),
    );
    return doing;
  }

  async #disturb(kind: FaultKind, target: string, work: () => Promise<void>): Promise<void> {
    const { history, say } = this.#options;
    const disturbance: Disturbance = {
      kind,
      target,
      fromMs: performance.now(),
      toMs: Number.POSITIVE_INFINITY,
    };
    history.disturbances.push(disturbance);
    this.#count(kind);
    await work();
    disturbance.toMs = performance.now();
    say(`${kind} ${target}: ${Math.round(disturbance.toMs - disturbance.fromMs)} ms`);
  }

  async #do(fault: ClusterFault, target: string): Promise<void> {
    const { cluster, signal, store } = this.#options;
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
        this.#flood(target);
        await this.#freeze(target, fault.forMs);
        return this.#untilReady(target);
      case 'cutSubscriber':
        // A Redis that is away at the moment has cut them already.
        await store.cutConnections(`${target}-subscriber`).catch(() => 0);
        return this.#untilReady(target);
      case 'killRedis': {
        const redis = requireStandalone(store);
        await redis.kill();
        await this.#sleep(fault.forMs);
        await redis.startAgain();
        return this.#untilAllReady();
      }
      case 'killMaster':
        await requireCluster(store).failOver(fault.master, fault.forMs, signal);
        return this.#untilAllReady();
      case 'moveSlot':
        await requireCluster(store).moveThereAndBack(
          this.#keyOf(fault.device),
          fault.forMs,
          signal,
        );
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

  /** Much for the clients of one edge at once, live only: it is for their edge to choke on. */
  #flood(edge: string): void {
    const { backend, cluster, fleet } = this.#options;
    const { host } = new URL(cluster.edgeUrl(edge));
    const there = fleet.devices.filter((device) => device.edges().includes(host));
    if (there.length === 0) return;
    for (let i = 0; i * STALL_PUSH_BYTES < STALL_BYTES; i++) {
      backend.push(there[i % there.length]!.clientId, false, STALL_PUSH_BYTES);
    }
  }

  async #untilAllReady(): Promise<void> {
    for (const name of this.#options.cluster.names) await this.#untilReady(name);
  }

  /** Resolves when the member says so, or after a while all the same. */
  async #untilReady(name: string): Promise<void> {
    const { cluster, patienceMs, say } = this.#options;
    const deadlineMs = performance.now() + patienceMs;
    while (performance.now() < deadlineMs) {
      const signal = AbortSignal.timeout(1_000);
      const answer = await fetch(`${cluster.httpUrl(name)}/readyz`, { signal }).catch(() => null);
      await answer?.body?.cancel();
      if (answer?.ok) return;
      await this.#sleep(POLL_MS);
    }
    say(`${name} is not ready after ${patienceMs} ms`);
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

  /** A key in the slot of the device's shard. */
  #keyOf(device: number): string {
    const { clientId } = this.#options.fleet.devices[device]!;
    return shardChannel(shardTags(SHARDS)[shardOf(clientId, SHARDS)]!);
  }

  #count(kind: FaultKind): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }
}

function requireStandalone(store: Store): StandaloneStore {
  if (store instanceof StandaloneStore) return store;
  throw new Error('only a standalone Redis is killed as a whole');
}

function requireCluster(store: Store): ClusterStore {
  if (store instanceof ClusterStore) return store;
  throw new Error('only a Redis Cluster has masters and slots');
}

function tryKill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has died meanwhile, which is its right.
  }
}
