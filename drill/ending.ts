/** How every drill ends: all is healed, everybody is connected, and what was accepted has to arrive. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../cli/failure.js';
import type { LocalCluster } from '../cli/local/cluster.js';
import type { History } from './history/history.js';
import { isAccepted } from './history/history-index.js';
import type { Backend } from './load/backend.js';
import type { Fleet } from './load/fleet.js';

export interface EndingOptions {
  readonly clients: number;
  readonly patienceMs: number;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

const POLL_MS = 250;
/** What must not come gets so long to come all the same. */
const QUIET_MS = 1_500;
/** Nothing new for so long, and nothing more will come: edges look for what they missed sooner. */
const STALE_MS = 8_000;

export class Ending {
  /** What did not come to rest. */
  readonly stuck: string[] = [];

  constructor(
    readonly options: EndingOptions,
    readonly cluster: LocalCluster,
    readonly fleet: Fleet,
    readonly backend: Backend,
    readonly history: History,
  ) {}

  /** Until all members are ready and all devices connected, or patience ends. */
  async heal(): Promise<void> {
    const { clients, patienceMs, say } = this.options;
    say('healing');
    this.fleet.heal();
    try {
      await this.cluster.waitUntilReady(patienceMs);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.stuck.push(error.message);
    }
    await this.#until(() => this.fleet.openCount === clients);
    const { openCount } = this.fleet;
    if (openCount < clients) this.stuck.push(`${openCount} of ${clients} devices are connected`);
  }

  /** One more push to everybody, and then until all that was accepted has come and it is quiet. */
  async drain(): Promise<void> {
    const { backend, fleet, history, options } = this;
    options.say('draining');
    for (const device of fleet.devices) backend.push(device.clientId, true, 0);
    await this.#until(() => backend.undecided === 0);
    if (backend.undecided > 0) this.stuck.push(`${backend.undecided} pushes were never accepted`);
    await this.#until(() => missing(history) === 0 || fleet.silentMs() > STALE_MS);
    await sleep(QUIET_MS, undefined, { signal: options.signal });
  }

  #until(fn: () => boolean): Promise<boolean> {
    return until(fn, this.options.patienceMs, this.options.signal);
  }
}

/** How many durable pushes were accepted and not received. */
function missing({ connections, pushes }: History): number {
  const received = new Set<number | undefined>();
  for (const { receipts } of connections) {
    for (const { pushNumber } of receipts) received.add(pushNumber);
  }
  const accepted = pushes.filter((push) => push.isDurable && push.attempts.some(isAccepted));
  return accepted.filter(({ number }) => !received.has(number)).length;
}

/** Resolves with whether `fn` became true before the deadline. */
export async function until(
  fn: () => boolean,
  msMax: number,
  signal: AbortSignal,
): Promise<boolean> {
  const deadlineMs = performance.now() + msMax;
  while (!fn()) {
    if (performance.now() > deadlineMs) return false;
    await sleep(POLL_MS, undefined, { signal });
  }
  return true;
}
