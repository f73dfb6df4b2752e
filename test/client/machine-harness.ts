import type { ClientAction, ClientEvent } from '../../client/events.js';
import { ClientMachine, type ClientMachineOptions } from '../../client/machine.js';
import type { ServerMessage } from '../../client/messages.js';

export const HEARTBEAT_MS = 15_000;
/** Result of every random draw. */
const HALF: number = 0.5;
export const WELCOME = {
  type: 'welcome',
  heartbeatMs: HEARTBEAT_MS,
} as const satisfies ServerMessage;
export const FAILURE = { code: 'NETWORK', reason: 'broken' };

/** Machine in virtual time. */
export class MachineHarness {
  readonly machine: ClientMachine;
  nowMs = 1_000;
  wakeAtMs = Number.POSITIVE_INFINITY;
  attempt = 0;

  /** The application settles each delivery at once, or else the test calls `settle`. */
  readonly isSync: boolean;
  /** Newest delivery without a result. */
  delivery = 0;

  constructor({
    isSync = true,
    ...options
  }: Partial<ClientMachineOptions & { isSync: boolean }> = {}) {
    this.isSync = isSync;
    this.machine = new ClientMachine({
      hasWebSocket: true,
      hasToken: false,
      hasLock: false,
      lastEventId: '',
      random: () => HALF,
      ...options,
    });
  }

  step(event: ClientEvent | null): ClientAction[] {
    const { actions, wakeAtMs } = this.machine.step(this.nowMs, event);
    this.wakeAtMs = wakeAtMs;
    const all = [...actions];
    for (const action of actions) {
      if (action.type === 'open') this.attempt = action.attempt;
      if (action.type !== 'deliver') continue;
      this.delivery = action.delivery;
      if (this.isSync) all.push(...this.settle());
    }
    return all;
  }

  /** @param failure what the application threw; undefined: it has taken the delivery */
  settle(failure?: string, delivery = this.delivery): ClientAction[] {
    return this.step({ type: 'returned', delivery, failure });
  }

  receive(message: ServerMessage): ClientAction[] {
    return this.step({ type: 'message', attempt: this.attempt, message });
  }

  push(id: string): ClientAction[] {
    return this.receive({ type: 'push', push: { id, data: 'x' } });
  }

  fail(retryAfterMs?: number): ClientAction[] {
    const failure = retryAfterMs === undefined ? FAILURE : { ...FAILURE, retryAfterMs };
    return this.step({ type: 'failed', attempt: this.attempt, failure });
  }

  /** Advances time to the next deadline of the machine. */
  advanceToDeadline(): ClientAction[] {
    this.nowMs = this.wakeAtMs;
    return this.step(null);
  }

  advance(ms: number): ClientAction[] {
    this.nowMs += ms;
    return this.step(null);
  }

  connected(): this {
    this.step(null);
    this.receive(WELCOME);
    return this;
  }
}
