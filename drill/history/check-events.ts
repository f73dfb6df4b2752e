/**
 * Checks the events that the consumers have received against what clients and pushes did. Pure.
 *
 * Each connection has an event of its beginning and one of its end, in turns; a move is both. Each
 * push that is deleted because its device has named a later id has one event, and none has two
 * ends. The events of a client arrive in order, at least once, and are not repeated endlessly.
 * Events that Redis loses are excused.
 */
import { align } from './align.js';
import { AFTERMATH_MS, type Find, STEADY_MS } from './checks.js';
import type { Connection, History, ReceivedEvent } from './history.js';
import { compareIds, groupBy, type Indexed } from './history-index.js';

const CONNECTED = 'client.connected';
/** The end of one connection and the beginning of another. */
const MOVED = 'client.moved';
const DISCONNECTED = 'client.disconnected';
const CONFIRMED = 'push.confirmed';
const ENDS = [CONFIRMED, 'push.expired', 'push.dropped'];

/** Until a connection is entered, also if its announcement was lost and has to be repeated. */
const ENTERED_MS = 6_000;
/** Until an event has arrived, also if a consumer has just died with its lease. */
const DELIVERED_MS = 15_000;
/** Until an acknowledgement counts for the other consumers of the group. */
const ACKNOWLEDGED_MS = 5_000;
/** Number of times that an acknowledgement may be lost because of faults. */
const REPEATED_MAX = 5;

export function checkEvents(history: History, index: Indexed, find: Find): void {
  // Events are off.
  if (history.watches.length === 0) return;
  const endMs = Math.max(...history.watches.map(({ endedAtMs }) => endedAtMs));
  const receipts = groupBy(history.events, ({ id }) => id);
  const events = groupBy(
    [...receipts.values()].map(([first]) => first!),
    ({ clientId }) => clientId,
  );
  const connections = groupBy(history.connections, ({ clientId }) => clientId);
  const unanswered = groupBy(history.unansweredRequests, ({ clientId }) => clientId);
  for (const clientId of new Set([...index.clientIds, ...events.keys()])) {
    const ofClient: ClientHistory = {
      clientId,
      events: events.get(clientId) ?? [],
      connections: connections.get(clientId) ?? [],
      unanswered: unanswered.get(clientId) ?? [],
      endMs,
    };
    checkOrder(index, ofClient, find);
    checkTurns(index, ofClient, find);
    checkBeginnings(index, ofClient, find);
    checkEarlyEnds(index, ofClient, find);
    checkNewest(index, ofClient, find);
    checkConfirmed(index, ofClient, find);
    checkInvented(index, ofClient, find);
    checkEnds(index, ofClient, find);
  }
  for (const ofEvent of receipts.values()) checkRepeated(index, ofEvent, find);
  for (const { type, lost, atMs } of history.events) {
    if (type !== 'events_lost' || index.mayHaveLostWrites(0, atMs)) continue;
    find('missingEvents', '', undefined, `${lost} events were removed unread`);
  }
}

interface ClientHistory extends Pick<History, 'connections'> {
  readonly clientId: string;
  /** Each once, in the order in which they were first received. */
  readonly events: readonly ReceivedEvent[];
  readonly unanswered: History['unansweredRequests'];
  /** When the last consumer stopped. */
  readonly endMs: number;
}

type Check = (index: Indexed, client: ClientHistory, find: Find) => void;

const checkOrder: Check = (index, { clientId, events }, find) => {
  // Events without a client belong to several shards, which have no order among them.
  if (clientId === '') return;
  let before: ReceivedEvent | undefined;
  for (const event of events) {
    const isLater = before === undefined || compareIds(idOf(event), idOf(before)) > 0;
    if (!isLater && !index.mayHaveLostWrites(0, event.atMs)) {
      find('misorderedEvents', clientId, undefined, `${event.id} after ${before!.id}`);
    }
    before = event;
  }
};

/** Beginnings and ends take turns. */
const checkTurns: Check = (index, { clientId, events }, find) => {
  let before: ReceivedEvent | undefined;
  // Consumers that were behind receive old events: as old as what they received before they
  // stopped.
  let burstSinceMs = 0;
  for (const event of events.filter(isOfClient)) {
    if (before !== undefined && event.atMs - before.atMs > DELIVERED_MS) burstSinceMs = before.atMs;
    const sinceMs = burstSinceMs - AFTERMATH_MS;
    const mayBeLost = index.mayHaveLostWrites(sinceMs, event.atMs);
    const isOpen = before?.type === CONNECTED || before?.type === MOVED;
    const left = event.type === MOVED ? event.fromEdge : event.edge;
    if (event.type === CONNECTED && isOpen && !mayBeLost) {
      find('missingEvents', clientId, undefined, `no end between ${before!.id} and ${event.id}`);
    }
    if (event.type !== CONNECTED && !(isOpen && before?.edge === left) && !mayBeLost) {
      find('falseEvents', clientId, undefined, `the end ${event.id} follows no beginning`);
    }
    before = event;
  }
};

/**
 * Each beginning is one of a connection, in order, and those of connections that lasted are there.
 */
const checkBeginnings: Check = (
  index,
  { clientId, events, connections, unanswered, endMs },
  find,
) => {
  const beginnings = events.filter(isBeginning);
  const requested = [...connections].sort((a, b) => a.requestedAtMs - b.requestedAtMs);
  const { unmatchedA, unmatchedB } = align(requested, beginnings, {
    matches: ({ edge, requestedAtMs }, event) => edge === event.edge && requestedAtMs <= event.atMs,
    mayMissA: (connection) => !mustBeEntered(index, connection, endMs),
  });
  for (const { edge, openedAtMs } of unmatchedA) {
    const message = `no event of the connection to ${edge} at ${Math.round(openedAtMs)} ms`;
    find('missingEvents', clientId, undefined, message);
  }
  // An edge may have accepted a device that had given up.
  const spare = [...unanswered];
  for (const event of unmatchedB) {
    const at = spare.findIndex(({ fromMs }) => fromMs <= event.atMs);
    if (at >= 0) spare.splice(at, 1);
    else if (!mayBeToldAgain(index, connections, event)) {
      const message = `the beginning ${event.id} at ${event.edge} was none`;
      find('falseEvents', clientId, undefined, message);
    }
  }
};

/**
 * Its edge seemed to be dead, or two connections were announced in turns, or Redis has lost the
 * first.
 */
function mayBeToldAgain(
  index: Indexed,
  connections: readonly Connection[],
  { edge, atMs }: ReceivedEvent,
): boolean {
  const sinceMs = atMs - DELIVERED_MS;
  const wasOpen = connections.some(
    (each) => each.edge === edge && each.requestedAtMs <= atMs && each.closedAtMs >= sinceMs,
  );
  const wasCalm = index.isCalm(sinceMs - AFTERMATH_MS, atMs);
  return wasOpen && (!wasCalm || index.mayHaveLostWrites(0, atMs));
}

function mustBeEntered(index: Indexed, connection: Connection, endMs: number): boolean {
  const { requestedAtMs, openedAtMs } = connection;
  if (openedAtMs + ENTERED_MS > endMs) return false;
  const mayBeLost = index.mayHaveLostWrites(
    requestedAtMs - AFTERMATH_MS,
    openedAtMs + DELIVERED_MS + ENTERED_MS,
  );
  return !mayBeLost && index.isCalm(openedAtMs - AFTERMATH_MS, openedAtMs + STEADY_MS);
}

/** A connection that has lasted, and still does, has not ended. */
const checkEarlyEnds: Check = (index, { clientId, events }, find) => {
  for (const { type, id, atMs, reason } of events) {
    if (type !== DISCONNECTED) continue;
    const sinceMs = atMs - DELIVERED_MS;
    const steady = index.steadyConnection(clientId, sinceMs, atMs, STEADY_MS);
    if (steady !== undefined && index.isCalm(sinceMs - AFTERMATH_MS, atMs)) {
      find('falseEvents', clientId, undefined, `the end ${id}, ${reason}, was none`);
    }
  }
};

/** The newest event of a client that is connected says so. */
const checkNewest: Check = (index, { clientId, events, connections, endMs }, find) => {
  const open = connections.filter(({ closedAtMs }) => closedAtMs >= endMs).at(-1);
  if (open === undefined || open.openedAtMs + ENTERED_MS > endMs) return;
  if (index.mayHaveLostWrites(open.requestedAtMs - AFTERMATH_MS, endMs)) return;
  const newest = events.filter(isOfClient).at(-1);
  if (newest !== undefined && isBeginning(newest) && newest.edge === open.edge) return;
  const told = newest === undefined ? 'no event' : `${newest.type} ${newest.edge} ${newest.reason}`;
  find('missingEvents', clientId, undefined, `is connected to ${open.edge}; the newest is ${told}`);
};

/** Each push up to an id that the device has named, and that the edge has known, is confirmed. */
const checkConfirmed: Check = (index, { clientId, events, connections, endMs }, find) => {
  const confirmed = new Set(
    events.filter(({ type }) => type === CONFIRMED).map(({ messageId }) => messageId),
  );
  let named: { cursor: string; atMs: number } | undefined;
  for (const { cursor, receipts, resetsAtMs } of connections) {
    // It receives nothing durable before its cursor is handled.
    const received = receipts.find(({ messageId }) => messageId !== '');
    if (cursor === '' || received === undefined || resetsAtMs.length > 0) continue;
    if (received.atMs + ENTERED_MS > endMs) continue;
    if (named !== undefined && compareIds(cursor, named.cursor) <= 0) continue;
    named = { cursor, atMs: received.atMs };
  }
  if (named === undefined) return;
  for (const { push, messageId } of index.storedOf(clientId)) {
    if (confirmed.has(messageId) || compareIds(messageId, named.cursor) > 0) continue;
    const sentAtMs = push.attempts[0]!.sentAtMs;
    if (index.mayBeReplaced(push)) continue;
    if (index.mayHaveLostWrites(sentAtMs, named.atMs + DELIVERED_MS)) continue;
    const message = `${messageId} was confirmed by the cursor ${named.cursor}, without an event`;
    find('missingEvents', clientId, push.number, message);
  }
};

/** A push is confirmed once, and not before its device has named its id or a later one. */
const checkInvented: Check = (index, { clientId, events, connections, unanswered }, find) => {
  const requests = [
    ...connections.map(({ cursor, requestedAtMs }) => ({ cursor, atMs: requestedAtMs })),
    ...unanswered.map(({ cursor, fromMs }) => ({ cursor, atMs: fromMs })),
  ].sort((a, b) => a.atMs - b.atMs);
  const seen = new Set<string>();
  let [next, named] = [0, ''];
  for (const { type, id, messageId, atMs } of events) {
    if (type !== CONFIRMED) continue;
    for (; requests[next] !== undefined && requests[next]!.atMs <= atMs; next++) {
      const { cursor } = requests[next]!;
      if (cursor !== '' && (named === '' || compareIds(cursor, named) > 0)) named = cursor;
    }
    const report = (message: string) =>
      find('falseEvents', clientId, index.pushWithId(clientId, messageId)?.number, message);
    if (named === '' || compareIds(messageId, named) > 0) {
      report(`${id} confirms ${messageId}; the device has named ${named || 'no id'}`);
    }
    if (seen.has(messageId) && !index.mayHaveLostWrites(0, atMs)) {
      report(`${id} confirms ${messageId} again`);
    }
    seen.add(messageId);
  }
};

/** A push is confirmed, or has expired, or was dropped. */
const checkEnds: Check = (index, { clientId, events }, find) => {
  const ends = groupBy(
    events.filter(({ type }) => ENDS.includes(type)),
    ({ messageId }) => messageId,
  );
  for (const [messageId, [first, ...others]] of ends) {
    const other = others.find(({ type }) => type !== first!.type);
    if (other === undefined || index.mayHaveLostWrites(0, other.atMs)) continue;
    const message = `${messageId} has the ends ${first!.id}, ${first!.type}, and ${other.id}, ${other.type}`;
    find('falseEvents', clientId, index.pushWithId(clientId, messageId)?.number, message);
  }
};

/** @param receipts of one event, the first receipt first */
function checkRepeated(index: Indexed, receipts: readonly ReceivedEvent[], find: Find): void {
  // The router had the time to handle these acknowledgements.
  const acked = receipts.filter(
    ({ ackedAtMs, watch }) => watch.endedAtMs >= ackedAtMs + ACKNOWLEDGED_MS,
  );
  const [first] = acked;
  const last = receipts.at(-1)!;
  if (first === undefined) return;
  const { ackedAtMs, clientId, id } = first;
  if (index.mayHaveLostWrites(ackedAtMs - AFTERMATH_MS, last.atMs)) return;
  const wasCalm = index.isCalm(ackedAtMs - AFTERMATH_MS, ackedAtMs + ACKNOWLEDGED_MS);
  const isLate = last.atMs > ackedAtMs + ACKNOWLEDGED_MS;
  if ((wasCalm && isLate) || acked.length > REPEATED_MAX) {
    const message = `${id} was received ${receipts.length} times, acknowledged ${acked.length} times`;
    find('repeatedEvents', clientId, undefined, message);
  }
}

function isOfClient(event: ReceivedEvent): boolean {
  return isBeginning(event) || event.type === DISCONNECTED;
}

function isBeginning({ type }: ReceivedEvent): boolean {
  return type === CONNECTED || type === MOVED;
}

/** The id within the shard. */
function idOf({ id }: ReceivedEvent): string {
  return id.slice(id.indexOf('-') + 1);
}
