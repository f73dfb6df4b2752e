/**
 * The end of every drill: no more faults, all members and devices recover, and every push that was
 * accepted must arrive.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalCluster } from '../cli/local/cluster.js';
import { Failure } from '../cli/terminal/failure.js';
import type { History } from './history/history.js';
import { isAccepted } from './history/history-index.js';
import type { Backend } from './load/backend.js';
import type { Fleet } from './load/fleet.js';

export interface RecoveryOptions {
  /** Maximum of each wait: for members and devices, for verdicts, and for accepted pushes. */
  readonly recoveryMsMax: number;
  readonly cluster: LocalCluster;
  readonly fleet: Fleet;
  readonly backend: Backend;
  readonly history: History;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

const POLL_MS = 250;
/** Time after the last expected push in which an unexpected one can still arrive. */
const QUIET_MS = 1_500;
/** After this long without a push, none will arrive: edges look for missed pushes more often. */
const STALE_MS = 8_000;

export class Recovery {
  /** Descriptions of what did not recover. */
  readonly stuck: string[] = [];
  readonly #options: RecoveryOptions;

  constructor(options: RecoveryOptions) {
    this.#options = options;
  }

  /** Waits until all members are ready and all devices connected; what is not is `stuck`. */
  async recover(): Promise<void> {
    const { cluster, fleet, log, recoveryMsMax } = this.#options;
    log('recovering');
    fleet.resumeAll();
    try {
      await cluster.waitUntilReady(recoveryMsMax);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.stuck.push(error.message);
    }
    const { length: count } = fleet.devices;
    await this.#until(() => fleet.openCount === count);
    const { openCount } = fleet;
    if (openCount < count) this.stuck.push(`${openCount} of ${count} devices are connected`);
  }

  /** Pushes once more to every device, then waits until all accepted pushes have arrived. */
  async drain(): Promise<void> {
    const { backend, fleet, history, log, signal } = this.#options;
    log('draining');
    for (const device of fleet.devices) backend.push(device.clientId, true, 0);
    await this.#until(() => backend.undecided === 0);
    if (backend.undecided > 0) this.stuck.push(`${backend.undecided} pushes were never accepted`);
    await this.#until(() => countMissing(history) === 0 || fleet.silentMs() > STALE_MS);
    await sleep(QUIET_MS, undefined, { signal });
  }

  #until(isDone: () => boolean): Promise<boolean> {
    return until(isDone, this.#options.recoveryMsMax, this.#options.signal);
  }
}

/** Number of durable pushes that were accepted and not received. */
function countMissing({ connections, pushes }: History): number {
  const received = new Set<number | undefined>();
  for (const { receipts } of connections) {
    for (const { pushNumber } of receipts) received.add(pushNumber);
  }
  const accepted = pushes.filter((push) => push.isDurable && push.attempts.some(isAccepted));
  return accepted.filter(({ number }) => !received.has(number)).length;
}

/** Resolves with whether `isDone` returned true within `msMax`. */
export async function until(
  isDone: () => boolean,
  msMax: number,
  signal: AbortSignal,
): Promise<boolean> {
  const deadlineMs = performance.now() + msMax;
  while (!isDone()) {
    if (performance.now() > deadlineMs) return false;
    await sleep(POLL_MS, undefined, { signal });
  }
  return true;
}
