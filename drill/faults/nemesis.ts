/**
 * Injects the faults of a schedule into the cluster and its devices. "Nemesis" is Jepsen's word for
 * the process that breaks the system under test. Each fault is recorded as a disturbance that ends
 * when the cluster has recovered from it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { DeviceFaultRecord, Disturbance } from '../history/history.js';
import type { DeviceFault } from './device-fault.js';
import type { FaultRun } from './kinds/fault-kind.js';
import { clusterKind, type FaultKindName } from './kinds.js';
import type { ClusterFault, Scheduled } from './schedule.js';

const POLL_MS = 50;

type Parts =
  | 'cluster'
  | 'clocks'
  | 'redis'
  | 'memory'
  | 'network'
  | 'fleet'
  | 'backend'
  | 'history'
  | 'signal'
  | 'log';

export interface NemesisOptions extends Pick<FaultRun, Parts> {
  /** Time in which a member must become ready again. */
  readonly recoveryMsMax: number;
}

export class Nemesis {
  readonly counts: Partial<Record<FaultKindName, number>> = {};
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
        return this.#recordDevices(fault, () => fleet.inject(fault));
      // The pushes to the paused device may be too much for the subscriber of its edge, too.
      case 'pause':
        return this.#disturb(fault.kind, `device-${fault.device}`, () => fleet.inject(fault));
      default:
        return this.#injectInTurn(fault);
    }
  }

  #injectInTurn(fault: ClusterFault): Promise<void> {
    const { cluster } = this.#options;
    const kind = clusterKind(fault.kind)!;
    const target = kind.target(fault, cluster);
    const before = this.#lastFaults.get(target) ?? Promise.resolve();
    const injected = before.then(() =>
      this.#disturb(fault.kind, target, (disturbance) =>
        kind.inject(fault, this.#run(target, disturbance)),
      ),
    );
    // A failure does not stop the next fault of this target; `run` rejects with it.
    this.#lastFaults.set(
      target,
      injected.catch(() => {}),
    );
    return injected;
  }

  async #recordDevices(
    { kind, devices }: Extract<DeviceFault, { devices: readonly number[] }>,
    inject: () => Promise<void>,
  ): Promise<void> {
    const { history, fleet } = this.#options;
    const record: DeviceFaultRecord = {
      kind,
      clientIds: devices.map((device) => fleet.devices[device]!.clientId),
      fromMs: performance.now(),
      toMs: Number.POSITIVE_INFINITY,
    };
    history.deviceFaults.push(record);
    this.#count(kind);
    await inject();
    record.toMs = performance.now();
  }

  async #disturb(
    kind: FaultKindName,
    target: string,
    fault: (disturbance: Disturbance) => Promise<void>,
  ): Promise<void> {
    const { history, log } = this.#options;
    const disturbance: Disturbance = {
      kind,
      target,
      fromMs: performance.now(),
      toMs: Number.POSITIVE_INFINITY,
    };
    if (mayIsolate(kind)) disturbance.isolates = true;
    history.disturbances.push(disturbance);
    this.#count(kind);
    await fault(disturbance);
    disturbance.toMs = performance.now();
    log(`${kind} ${target}: ${Math.round(disturbance.toMs - disturbance.fromMs)} ms`);
  }

  #run(target: string, disturbance: Disturbance): FaultRun {
    return {
      ...this.#options,
      target,
      disturbance,
      sleep: (ms) => this.#sleep(ms),
      freeze: (member, forMs) => this.#freeze(member, forMs),
      untilReady: (member) => this.#untilReady(member),
      untilAllReady: () => this.#untilAllReady(),
    };
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

  #count(kind: FaultKindName): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }
}

function tryKill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // The process has died meanwhile.
  }
}

/**
 * Without links, or short of memory, an edge may neither report to control nor receive anything.
 */
function mayIsolate(name: FaultKindName): boolean {
  const kind = clusterKind(name);
  return kind?.isolates === true || kind?.family === 'network' || kind?.family === 'memory';
}
