/**
 * The end of every drill: no more faults, all members and devices recover, and every push that was
 * accepted must arrive.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalCluster } from '../cli/local/cluster.js';
import { Failure } from '../cli/terminal/failure.js';
import type { Connection, History } from './history/history.js';
import { isAccepted } from './history/history-index.js';
import type { Backend } from './load/backend.js';
import type { EventConsumers } from './load/event-consumers.js';
import type { Fleet } from './load/fleet.js';

export interface RecoveryOptions {
  /** Maximum of each wait: for members and devices, for verdicts, and for accepted pushes. */
  readonly recoveryMsMax: number;
  readonly cluster: LocalCluster;
  readonly fleet: Fleet;
  readonly backend: Backend;
  /** Undefined while events are off. */
  readonly consumers: EventConsumers | undefined;
  readonly history: History;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

const POLL_MS = 250;
/** Time after the last expected push in which an unexpected one can still arrive. */
const QUIET_MS = 1_500;
/** After this long without a push, none will arrive: edges look for missed pushes more often. */
const STALE_MS = 8_000;
/** After this long without a new event, none will arrive. */
const EVENTS_STALE_MS = 6_000;

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
    const { backend, fleet, consumers, history, log, recoveryMsMax, signal } = this.#options;
    log('draining');
    for (const device of fleet.devices) backend.push(device.clientId, true, 0);
    await this.#until(() => backend.undecided === 0);
    if (backend.undecided > 0) this.stuck.push(`${backend.undecided} pushes were never accepted`);
    const missing = new Missing(history);
    await this.#until(() => missing.count() === 0 || fleet.silentMs() > STALE_MS);
    await sleep(QUIET_MS, undefined, { signal });
    if (consumers === undefined) return;
    // Control balances for a while after the last fault, and the event of a client that does not
    // return after its GOAWAY follows 15 s later.
    const isSilent = () => consumers.silentMs() > EVENTS_STALE_MS;
    const areSilent = await until(isSilent, 2 * recoveryMsMax, signal);
    if (!areSilent) this.stuck.push(`events have not ended, such as ${newestOf(history)}`);
  }

  #until(isDone: () => boolean): Promise<boolean> {
    return until(isDone, this.#options.recoveryMsMax, this.#options.signal);
  }
}

const NEWEST_EVENTS = 5;

function newestOf({ events }: History): string {
  return events
    .slice(-NEWEST_EVENTS)
    .map(({ type, clientId, reason }) => `${type} ${clientId} ${reason}`.trim())
    .join(', ');
}

/** The durable pushes that were accepted so far and not received. */
class Missing {
  readonly #numbers: Set<number | undefined>;
  /**
   * Receipts so far of each connection. A history has a million of them, too many for each poll.
   */
  readonly #seen = new Map<Connection, number>();

  constructor(readonly history: History) {
    const accepted = history.pushes.filter(
      (push) => push.isDurable && push.attempts.some(isAccepted),
    );
    this.#numbers = new Set(accepted.map(({ number }) => number));
  }

  count(): number {
    for (const connection of this.history.connections) {
      const { receipts } = connection;
      for (let i = this.#seen.get(connection) ?? 0; i < receipts.length; i++) {
        this.#numbers.delete(receipts[i]!.pushNumber);
      }
      this.#seen.set(connection, receipts.length);
    }
    return this.#numbers.size;
  }
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
