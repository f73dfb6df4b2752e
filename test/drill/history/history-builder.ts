/** Builders of histories. By default, the device `alice` is connected from 0 to END_MS. */
import {
  type Absence,
  type Attempt,
  type Connection,
  type Disturbance,
  type History,
  newHistory,
  type Push,
  type PushOutcome,
  type Receipt,
} from '../../../drill/history/history.js';

export const END_MS = 100_000;

export function history(parts: Partial<History>): History {
  return { ...newHistory(), ...parts };
}

export function attempt(
  outcome: PushOutcome,
  messageId = '',
  sentAtMs = 10_000,
  endedAtMs = sentAtMs + 5,
): Attempt {
  const answer = { outcome, messageId, replacedId: '', detail: '' };
  return { router: 'router', sentAtMs, endedAtMs, ...answer };
}

/** A push for `alice` with digest = number. */
export function push(number: number, attempts: Attempt[], parts: Partial<Push> = {}): Push {
  const level = 'accepted';
  const common = { number, clientId: 'alice', isDurable: true, level, digest: number } as const;
  return { ...common, collapseKey: '', appendTo: '', attempts, ...parts };
}

export function live(number: number, attempts: Attempt[]): Push {
  return push(number, attempts, { isDurable: false, level: undefined });
}

/** A receipt of push `pushNumber`; by default 10 ms after the default send time. */
export function receipt(pushNumber: number, messageId: string, atMs = 10_010): Receipt {
  return { atMs, messageId, pushNumber, digest: pushNumber };
}

/** A part of the message `m`, of 10 bytes. */
export function part(number: number, messageId: string, offset: number, isJoined = false): Receipt {
  return { ...receipt(number, messageId), part: { to: 'm', offset, bytes: 10, isJoined } };
}

export function connection(receipts: Receipt[], parts: Partial<Connection> = {}): Connection {
  return {
    clientId: 'alice',
    edge: 'edge-1',
    cursor: '',
    requestedAtMs: 0,
    openedAtMs: 0,
    closedAtMs: END_MS,
    closeReason: '',
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
