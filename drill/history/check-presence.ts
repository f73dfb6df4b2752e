/**
 * Checks what the watches of presence received. Pure.
 *
 * Each change of a client follows from its state and the changes before; in the end, both together
 * say to which edge it is connected. Changes that Redis loses are excused until the state is sent
 * again.
 */
import { AFTERMATH_MS, type Find } from './checks.js';
import type { Connection, History, PresenceReport } from './history.js';
import { groupBy, type Indexed } from './history-index.js';

/**
 * Until a connection is entered and its event has arrived, also if its announcement has to be
 * repeated.
 */
const TOLD_MS = 8_000;

export function checkPresence(history: History, index: Indexed, find: Find): void {
  const watches = groupBy(history.presence, ({ watch }) => watch);
  const endMs = Math.max(...[...watches.keys()].map(({ endedAtMs }) => endedAtMs));
  const connections = groupBy(history.connections, ({ clientId }) => clientId);
  for (const [watch, reports] of watches) {
    const byClient = groupBy(reports, ({ clientId }) => clientId);
    const isLast = watch.endedAtMs === endMs && watch.openedAtMs + TOLD_MS <= endMs;
    for (const [clientId, ofClient] of byClient) {
      checkTurns(index, ofClient, find);
      if (isLast) checkEnd(index, connections.get(clientId) ?? [], ofClient, endMs, find);
    }
  }
}

function checkTurns(index: Indexed, reports: readonly PresenceReport[], find: Find): void {
  let [edge, sinceMs] = ['', 0];
  for (const report of reports) {
    const { type, clientId, atMs } = report;
    const expected = type === 'client.connected' ? '' : edgeBefore(report);
    const mayBeLost = index.mayHaveLostWrites(sinceMs - AFTERMATH_MS, atMs);
    if (type !== 'state' && edge !== expected && !mayBeLost) {
      const message = `${type} ${report.edge} although it was ${told(edge)}`;
      find('falsePresence', clientId, undefined, message);
    }
    edge = edgeAfter(report);
    sinceMs = atMs;
  }
}

function checkEnd(
  index: Indexed,
  connections: readonly Connection[],
  reports: readonly PresenceReport[],
  endMs: number,
  find: Find,
): void {
  const open = connections.filter(({ closedAtMs }) => closedAtMs >= endMs).at(-1);
  if (open === undefined || open.openedAtMs + TOLD_MS > endMs) return;
  if (index.mayHaveLostWrites(open.requestedAtMs - AFTERMATH_MS, endMs)) return;
  const edge = edgeAfter(reports.at(-1)!);
  if (edge === open.edge) return;
  const message = `is connected to ${open.edge}; the watch says ${told(edge)}`;
  find('falsePresence', open.clientId, undefined, message);
}

function edgeBefore({ type, edge, fromEdge }: PresenceReport): string {
  return type === 'client.moved' ? fromEdge : edge;
}

function edgeAfter({ type, edge }: PresenceReport): string {
  return type === 'client.disconnected' ? '' : edge;
}

function told(edge: string): string {
  return edge === '' ? 'not connected' : `connected to ${edge}`;
}
