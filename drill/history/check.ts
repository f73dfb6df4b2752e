/**
 * What must be true of every history, whatever was broken. Pure, and written from what Longline
 * promises (docs/design.md), not from how it does it: it shares no code with what it checks.
 *
 * Three outcomes of an attempt matter. What was *accepted* must be received. What was *rejected*
 * must not be. What was neither (no answer, UNKNOWN) may be either, and is sent again.
 *
 * Some promises hold only for a device that is *steadily* connected (by exactly one connection, and
 * listening) and while nothing of the cluster is broken, or was a moment ago (*calm*).
 */
import type { Attempt, Connection, History, Push, Receipt } from './history.js';
import { compareIds, type Indexed, indexOf, isAccepted, type Received } from './history-index.js';

/**
 * - `lost` accepted, and never received.
 * - `outOfOrder` ids went back on a connection; a push was received before an older one; a push has
 *   a smaller id than one that was stored before it was sent.
 * - `unexplainedDuplicates` one id twice on a connection, or although the device had named it or a
 *   later one; one push under two ids; a live-only push twice.
 * - `falseVerdicts` an answer that cannot have been true, and a reset although nothing was missing.
 * - `late` accepted in calm for a steadily connected device, and not received for ten seconds.
 * - `phantoms` received, and never pushed or surely rejected.
 * - `misdelivered` received by somebody else.
 * - `corrupted` not the bytes that were pushed, or without the id that they have to have.
 */
export const CHECKS = [
  'lost',
  'outOfOrder',
  'unexplainedDuplicates',
  'falseVerdicts',
  'late',
  'phantoms',
  'misdelivered',
  'corrupted',
] as const;

export type CheckName = (typeof CHECKS)[number];

export interface Finding {
  readonly check: CheckName;
  readonly clientId: string;
  /** Undefined when it is about a connection, or about no push of ours. */
  readonly pushNumber: number | undefined;
  readonly what: string;
}

/** What was broken takes so long to be over everywhere: a lease, a backoff, a second look. */
const AFTERMATH_MS = 8_000;
/** How long before and after a moment a connection must have been there to count as steady. */
const STEADY_MS = 2_000;
const LATE_MS = 10_000;

/** Verdicts that a push may get at all, by what was asked for. */
const OF_DURABLE: readonly unknown[] = ['ACKED', 'WRITTEN', 'STORED', 'DUPLICATE'];
const OF_LIVE: readonly unknown[] = ['ACKED', 'WRITTEN', 'OFFLINE', 'SLOW'];
const OF_ANY: readonly unknown[] = ['UNKNOWN', 'REFUSED', 'UNANSWERED', undefined];

export function check(history: History): Finding[] {
  const index = indexOf(history);
  const findings: Finding[] = [];
  const find = (name: CheckName, clientId: string, push: number | undefined, what: string) =>
    findings.push({ check: name, clientId, pushNumber: push, what });
  for (const connection of history.connections) {
    checkReceipts(index, connection, find);
    checkConnection(index, connection, find);
  }
  for (const push of history.pushes) {
    const received = index.receivedOf(push);
    if (push.isDurable) checkDurable(index, push, received, find);
    else checkLive(index, push, received, find);
    for (const attempt of push.attempts) checkAttempt(index, push, attempt, received, find);
  }
  for (const clientId of index.clientIds) {
    checkFirstReceipts(index, clientId, find);
    checkRealTime(index, clientId, find);
  }
  return findings;
}

type Find = (
  name: CheckName,
  clientId: string,
  pushNumber: number | undefined,
  what: string,
) => void;

/** Each receipt by itself: whose is it, and is it what was pushed? */
function checkReceipts(index: Indexed, { clientId, receipts }: Connection, find: Find): void {
  for (const { pushNumber, digest, messageId } of receipts) {
    const push = pushNumber === undefined ? undefined : index.pushOf(pushNumber);
    if (pushNumber === undefined) {
      find('corrupted', clientId, undefined, `a payload that cannot be read, id ${messageId}`);
    } else if (push === undefined) {
      find('phantoms', clientId, pushNumber, 'was never pushed');
    } else if (push.clientId !== clientId) {
      find('misdelivered', clientId, pushNumber, `was for ${push.clientId}`);
    } else if (push.digest !== digest) {
      find('corrupted', clientId, pushNumber, 'its bytes have changed');
    } else if (push.isDurable !== (messageId !== '')) {
      const what = push.isDurable
        ? 'a durable push came without an id'
        : 'a live-only push has an id';
      find('corrupted', clientId, pushNumber, what);
    } else if (push.attempts.every(({ outcome }) => outcome === 'REFUSED')) {
      find('phantoms', clientId, pushNumber, 'every attempt was rejected');
    }
  }
}

/** What came over one connection, in its order. */
function checkConnection(index: Indexed, connection: Connection, find: Find): void {
  const { clientId, cursor, receipts, resetsAtMs } = connection;
  const seen = new Set<string>();
  let newest = '';
  for (const { messageId, pushNumber, atMs } of receipts) {
    if (messageId === '') continue;
    const isPastCursor = cursor === '' || compareIds(messageId, cursor) > 0;
    if (seen.has(messageId)) {
      find('unexplainedDuplicates', clientId, pushNumber, `${messageId} twice on one connection`);
    } else if (newest !== '' && compareIds(messageId, newest) < 0) {
      find('outOfOrder', clientId, pushNumber, `${messageId} after ${newest} on one connection`);
    } else {
      newest = messageId;
    }
    // After a reset, everything that is stored comes again.
    if (!isPastCursor && !resetsAtMs.some((resetMs) => resetMs <= atMs)) {
      const what = `${messageId} although the device had named ${cursor}`;
      find('unexplainedDuplicates', clientId, pushNumber, what);
    }
    seen.add(messageId);
  }
  // Nothing expires in a drill, and no inbox reaches its bound. But a failover may take with it what
  // was received already and had not been accepted yet: then the device names what nobody knows.
  if (resetsAtMs.length > 0 && (cursor === '' || index.isAcceptedId(clientId, cursor))) {
    find(
      'falseVerdicts',
      clientId,
      undefined,
      `a reset past ${cursor || 'no id'}, nothing is gone`,
    );
  }
}

function checkDurable(index: Indexed, push: Push, received: readonly Received[], find: Find): void {
  const { clientId, number } = push;
  const accepted = push.attempts.find(isAccepted);
  const [first] = received;
  if (accepted !== undefined && first === undefined) {
    find('lost', clientId, number, `${accepted.outcome}, and never received`);
  } else if (accepted !== undefined && first!.receipt.atMs > accepted.endedAtMs + LATE_MS) {
    const untilMs = accepted.endedAtMs + LATE_MS;
    const wasThere = index.steadyConnection(clientId, accepted.sentAtMs, untilMs, STEADY_MS);
    if (wasThere !== undefined && index.isCalm(accepted.sentAtMs - AFTERMATH_MS, untilMs)) {
      const lateMs = Math.round(first!.receipt.atMs - accepted.endedAtMs);
      find('late', clientId, number, `received ${lateMs} ms after ${accepted.outcome}`);
    }
  }
  const ids = new Set(received.map(({ receipt }) => receipt.messageId));
  if (ids.size > 1 && !mayBeStoredAnew(index, push)) {
    find('unexplainedDuplicates', clientId, number, `one push under ids ${[...ids].join(', ')}`);
  }
}

/** A failover may take what was received and not accepted, and with it what would know a retry. */
function mayBeStoredAnew(index: Indexed, { attempts }: Push): boolean {
  const [first, last] = [attempts[0], attempts.at(-1)];
  return first !== undefined && index.hadFailover(first.sentAtMs, last!.endedAtMs);
}

function checkLive(index: Indexed, push: Push, received: readonly Received[], find: Find): void {
  for (const [i, { connection, receipt }] of received.entries()) {
    const isTwice = received.slice(0, i).some((earlier) => {
      if (earlier.connection === connection) return true;
      // While one connection takes over from another, both may get it. An edge that was away may
      // hear the bell late, after the device has come to it from another one.
      const overlap = connection.openedAtMs <= earlier.connection.closedAtMs + STEADY_MS;
      return !overlap && index.isCalm(earlier.receipt.atMs - AFTERMATH_MS, receipt.atMs);
    });
    if (isTwice) find('unexplainedDuplicates', push.clientId, push.number, 'live-only, and twice');
  }
}

/** What the router said, beside what the device saw. */
function checkAttempt(
  index: Indexed,
  push: Push,
  attempt: Attempt,
  received: readonly Received[],
  find: Find,
): void {
  const { clientId, number, isDurable, attempts } = push;
  const { outcome, messageId, sentAtMs, endedAtMs } = attempt;
  const say = (what: string) => find('falseVerdicts', clientId, number, `${outcome}: ${what}`);
  if (OF_ANY.includes(outcome)) return;
  if (!(isDurable ? OF_DURABLE : OF_LIVE).includes(outcome)) {
    return say(isDurable ? 'of a durable push' : 'of a live-only push');
  }
  if (outcome === 'DUPLICATE') {
    const before = attempts.slice(0, attempts.indexOf(attempt));
    if (before.every((earlier) => earlier.outcome === 'REFUSED')) say('nothing was stored before');
  }
  const ids = received.map(({ receipt }) => receipt.messageId);
  if (messageId !== '' && ids.length > 0 && !ids.includes(messageId)) {
    say(`names ${messageId}, the device received ${ids.join(', ')}`);
  }
  const isCalm = () => index.isCalm(sentAtMs - AFTERMATH_MS, endedAtMs);
  if (outcome === 'WRITTEN') {
    const nobody = !index.hasConnection(clientId, sentAtMs - STEADY_MS, endedAtMs + STEADY_MS);
    if (nobody && isCalm()) say('there was no connection');
  }
  if (isDurable || received.length > 0) return;
  const steady = index.steadyConnection(clientId, sentAtMs, endedAtMs, STEADY_MS);
  if (steady !== undefined && isCalm()) {
    say(outcome === 'WRITTEN' ? 'never received' : `the device was connected to ${steady.edge}`);
  }
}

/** Pushes reach a client in the order of their ids; what came again later does not count. */
function checkFirstReceipts(index: Indexed, clientId: string, find: Find): void {
  const seen = new Set<string>();
  let newest: Receipt | undefined;
  for (const { receipt } of index.receiptsOf(clientId)) {
    const { messageId, pushNumber } = receipt;
    if (messageId === '' || seen.has(messageId)) continue;
    seen.add(messageId);
    if (newest !== undefined && compareIds(messageId, newest.messageId) < 0) {
      find('outOfOrder', clientId, pushNumber, `${messageId} first came after ${newest.messageId}`);
    } else {
      newest = receipt;
    }
  }
}

/** What was stored before something else was sent has the smaller id, through whatever router. */
function checkRealTime(index: Indexed, clientId: string, find: Find): void {
  let latest: { push: Push; sentAtMs: number; messageId: string } | undefined;
  for (const { push, messageId } of index.storedOf(clientId)) {
    const sentAtMs = push.attempts[0]!.sentAtMs;
    const storedAtMs = push.attempts.find(isAccepted)!.endedAtMs;
    if (latest !== undefined && storedAtMs < latest.sentAtMs) {
      const what = `has id ${messageId}, after ${latest.messageId} of push ${latest.push.number}, which was sent later`;
      find('outOfOrder', clientId, push.number, what);
    }
    if (latest === undefined || sentAtMs > latest.sentAtMs) latest = { push, sentAtMs, messageId };
  }
}
