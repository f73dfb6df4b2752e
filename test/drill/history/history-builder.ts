/** Histories by hand: a device, connected from 0 to the end, unless a test says otherwise. */
import type {
  Absence,
  Attempt,
  Connection,
  Disturbance,
  History,
  Push,
  PushOutcome,
  Receipt,
} from '../../../drill/history/history.js';

export const END_MS = 100_000;

export function history(parts: Partial<History>): History {
  return {
    pushes: [],
    connections: [],
    unansweredTries: [],
    absences: [],
    disturbances: [],
    ...parts,
  };
}

export function attempt(
  outcome: PushOutcome,
  messageId = '',
  sentAtMs = 10_000,
  endedAtMs = sentAtMs + 5,
): Attempt {
  return { router: 'router', sentAtMs, endedAtMs, outcome, messageId, detail: '' };
}

/** A push for `alice` with digest = number. */
export function push(number: number, attempts: Attempt[], parts: Partial<Push> = {}): Push {
  return { number, clientId: 'alice', isDurable: true, digest: number, attempts, ...parts };
}

export function live(number: number, attempts: Attempt[]): Push {
  return push(number, attempts, { isDurable: false });
}

/** A receipt of push `pushNumber`; a moment after pushes are sent, unless it is given. */
export function receipt(pushNumber: number, messageId: string, atMs = 10_010): Receipt {
  return { atMs, messageId, pushNumber, digest: pushNumber };
}

export function connection(receipts: Receipt[], parts: Partial<Connection> = {}): Connection {
  return {
    clientId: 'alice',
    edge: 'edge-1',
    cursor: '',
    openedAtMs: 0,
    closedAtMs: END_MS,
    closedBecause: '',
    receipts,
    resetsAtMs: [],
    ...parts,
  };
}

export function absence(fromMs: number, toMs: number): Absence {
  return { clientId: 'alice', fromMs, toMs };
}

export function disturbance(fromMs: number, toMs: number): Disturbance {
  return { kind: 'killEdge', target: 'edge-1', fromMs, toMs };
}
