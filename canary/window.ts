/**
 * The history of one synthetic client is judged in windows: some seconds of pushes, then none until
 * the fate of each is known. Then the checker of the drill compares what was promised with what was
 * received. Pure.
 */
import { check } from '../drill/history/check.js';
import { AFTERMATH_MS, type Finding, STEADY_MS } from '../drill/history/checks.js';
import type { Connection, History, HistoryInProgress, Push } from '../drill/history/history.js';
import { isAccepted } from '../drill/history/history-index.js';
import { MQTT_DURABLE } from './devices/mqtt-link.js';

/** A push that a connected device has not received for this long is not on its way any more. */
const RECEIVED_MS_MAX = 10_000;
/** The checker looks at connections some time after the last answer. */
const MARGIN_MS = STEADY_MS + 500;
/** A window that cannot be judged by then is given up: the cluster or the network is down. */
export const JUDGED_MS_MAX = 120_000;

/** `pending` something may still arrive · `abandoned` it cannot be known what has become of it */
export type WindowState = 'pending' | 'complete' | 'abandoned';

/**
 * @param endedAtMs end of the pushes
 * @param activeAtMs time of the last bytes on the open connection; undefined while there is none
 */
export function stateOf(
  history: History,
  endedAtMs: number,
  activeAtMs: number | undefined,
  nowMs: number,
): WindowState {
  const isOver = nowMs > endedAtMs + JUDGED_MS_MAX;
  const pending: WindowState = isOver ? 'abandoned' : 'pending';
  const answeredAtMs = Math.max(
    endedAtMs,
    ...history.pushes.flatMap(({ attempts }) => attempts.map((attempt) => attempt.endedAtMs)),
  );
  const isUndecided = history.pushes.some(
    ({ isDurable, attempts }) => isDurable && !attempts.some(isAccepted),
  );
  if (isUndecided || nowMs < answeredAtMs + MARGIN_MS) return pending;
  const received = new Set(
    history.connections.flatMap(({ receipts }) => receipts.map(({ pushNumber }) => pushNumber)),
  );
  if (history.pushes.every(({ isDurable, number }) => !isDurable || received.has(number))) {
    return 'complete';
  }
  // Something is missing. A silent connection proves nothing: its edge may be frozen.
  const openedAtMs = history.connections.at(-1)?.openedAtMs ?? Number.POSITIVE_INFINITY;
  const provenMs = (activeAtMs ?? 0) - Math.max(answeredAtMs, openedAtMs);
  return provenMs >= RECEIVED_MS_MAX ? 'complete' : pending;
}

/** @param silentMs time after which the device gives up a silent connection */
export function judge(history: History, silentMs: number): Finding[] {
  const idOf = new Map(
    history.pushes.map((push) => [push.number, push.attempts.find(isAccepted)?.messageId ?? '']),
  );
  return check({
    ...history,
    connections: history.connections.map((connection) => ({
      ...connection,
      closedAtMs: connection.closedAtMs - (connection.closeReason === 'silent' ? silentMs : 0),
      receipts: connection.receipts.map((receipt) =>
        receipt.messageId === MQTT_DURABLE
          ? { ...receipt, messageId: idOf.get(receipt.pushNumber ?? -1) || MQTT_DURABLE }
          : receipt,
      ),
    })),
  });
}

/** Removes what happened before a time. Pushes stay if they were sent later. */
export function forget(history: HistoryInProgress, beforeMs: number): void {
  keep(history.pushes, ({ attempts }) => (attempts[0]?.sentAtMs ?? 0) >= beforeMs);
  keep(history.connections, ({ closedAtMs }) => closedAtMs >= beforeMs);
  for (const connection of history.connections) {
    keep(connection.receipts as Connection['receipts'][number][], ({ atMs }) => atMs >= beforeMs);
    keep(connection.resetsAtMs, (atMs) => atMs >= beforeMs);
  }
  keep(history.unansweredRequests, ({ toMs }) => toMs >= beforeMs);
  keep(history.absences, ({ toMs }) => toMs >= beforeMs);
  keep(history.disturbances, ({ toMs }) => toMs >= beforeMs - AFTERMATH_MS);
}

/**
 * Milliseconds from sending a push to its receipt, of pushes that were received on a connection
 * that was open when they were sent: others waited for their device.
 */
export function latenciesOf(history: History, pushes: readonly Push[]): number[] {
  const sentAt = new Map(pushes.map(({ number, attempts }) => [number, attempts[0]?.sentAtMs]));
  const latencies: number[] = [];
  for (const { openedAtMs, receipts } of history.connections) {
    for (const { pushNumber, atMs } of receipts) {
      const sentAtMs = sentAt.get(pushNumber ?? -1);
      if (sentAtMs === undefined || sentAtMs < openedAtMs) continue;
      sentAt.delete(pushNumber!);
      latencies.push(atMs - sentAtMs);
    }
  }
  return latencies;
}

function keep<Item>(items: Item[], isKept: (item: Item) => boolean): void {
  items.splice(0, items.length, ...items.filter(isKept));
}
