import { type ClientAction, type ClientEvent, ClientMachine } from '../../client/machine.js';
import type { ServerMessage } from '../../client/messages.js';

export const HEARTBEAT_MS = 15_000;
/** Result of every random draw. */
const HALF: number = 0.5;
export const WELCOME = {
  type: 'welcome',
  heartbeatMs: HEARTBEAT_MS,
} as const satisfies ServerMessage;
export const FAILURE = { reason: 'rejected' };

/** Machine in virtual time. */
export class MachineHarness {
  readonly machine: ClientMachine;
  nowMs = 1_000;
  wakeAtMs = Number.POSITIVE_INFINITY;
  attempt = 0;

  constructor({ hasWebSocket = true, lastEventId = '', random = () => HALF } = {}) {
    this.machine = new ClientMachine(hasWebSocket, lastEventId, random);
  }

  step(event: ClientEvent | null): ClientAction[] {
    const { actions, wakeAtMs } = this.machine.step(this.nowMs, event);
    for (const action of actions) if (action.type === 'open') this.attempt = action.attempt;
    this.wakeAtMs = wakeAtMs;
    return [...actions];
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
    this.step({ type: 'start' });
    this.receive(WELCOME);
    return this;
  }
}
