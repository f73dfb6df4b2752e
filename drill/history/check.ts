/**
 * Invariants of every history, under any faults. Pure, and derived from the promises of Longline
 * (docs/design.md), not from their implementation: it shares no code with what it checks.
 *
 * An attempt has one of three outcomes. An *accepted* push must be received. A *rejected* one must
 * not be received. Any other (no answer, UNKNOWN) may or may not be received, and is retried.
 *
 * Some promises hold only in *calm*, and for a *steady* device. Calm: no part of the cluster is
 * faulty now or was in the last AFTERMATH_MS. Steady: the device has exactly one connection, from
 * STEADY_MS before until STEADY_MS after the moment in question, and reads from it.
 */
import { checkEvents } from './check-events.js';
import { checkLedger } from './check-ledger.js';
import { checkPresence } from './check-presence.js';
import { AFTERMATH_MS, type CheckName, type Find, type Finding, STEADY_MS } from './checks.js';
import type { Attempt, Connection, History, Push, Receipt, ReceivedPart } from './history.js';
import { compareIds, type Indexed, indexOf, isAccepted, type Received } from './history-index.js';

const LATE_MS = 10_000;

/** Possible outcomes of a durable push, of a live-only push, and of both. */
const OF_DURABLE: readonly unknown[] = ['ACKED', 'WRITTEN', 'STORED', 'DUPLICATE'];
const OF_LIVE: readonly unknown[] = ['ACKED', 'WRITTEN', 'OFFLINE', 'SLOW'];
const OF_ANY: readonly unknown[] = ['UNKNOWN', 'REJECTED', 'UNANSWERED', undefined];

export function check(history: History): Finding[] {
  const index = indexOf(history);
  const findings: Finding[] = [];
  const find = (name: CheckName, clientId: string, push: number | undefined, message: string) =>
    findings.push({ check: name, clientId, pushNumber: push, message });
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
    checkParts(index, clientId, find);
  }
  checkEvents(history, index, find);
  checkPresence(history, index, find);
  checkLedger(history, index, find);
  return findings;
}

/** Checks the client and the contents of each receipt. */
function checkReceipts(index: Indexed, { clientId, receipts }: Connection, find: Find): void {
  for (const { pushNumber, digest, messageId } of receipts) {
    const push = pushNumber === undefined ? undefined : index.pushOf(pushNumber, clientId);
    if (pushNumber === undefined) {
      find('corrupted', clientId, undefined, `the payload of id ${messageId} cannot be parsed`);
    } else if (push === undefined) {
      find('phantoms', clientId, pushNumber, 'was never pushed');
    } else if (push.clientId !== clientId) {
      find('misdelivered', clientId, pushNumber, `was for ${push.clientId}`);
    } else if (push.digest !== digest) {
      find('corrupted', clientId, pushNumber, 'its bytes have changed');
    } else if (push.isDurable !== (messageId !== '')) {
      const message = push.isDurable
        ? 'a durable push was received without an id'
        : 'a live-only push has an id';
      find('corrupted', clientId, pushNumber, message);
    } else if (push.attempts.every(({ outcome }) => outcome === 'REJECTED')) {
      find('phantoms', clientId, pushNumber, 'every attempt was rejected');
    }
  }
}

/** Checks the ids on one connection, in the order of receipt. */
function checkConnection(index: Indexed, connection: Connection, find: Find): void {
  const { clientId, cursor, receipts, resetsAtMs } = connection;
  const seen = new Set<string>();
  let newest = '';
  let resets = 0;
  for (const { messageId, pushNumber, atMs, part } of receipts) {
    if (messageId === '' || part?.isJoined) continue;
    for (; resets < resetsAtMs.length && resetsAtMs[resets]! <= atMs; resets++) {
      // After a reset, the edge sends everything that is stored.
      seen.clear();
      newest = '';
    }
    const isPastCursor = cursor === '' || compareIds(messageId, cursor) > 0;
    if (seen.has(messageId)) {
      find('unexplainedDuplicates', clientId, pushNumber, `${messageId} twice on one connection`);
    } else if (newest !== '' && compareIds(messageId, newest) < 0) {
      find('outOfOrder', clientId, pushNumber, `${messageId} after ${newest} on one connection`);
    } else {
      newest = messageId;
    }
    if (!isPastCursor && resets === 0) {
      const message = `${messageId} although the cursor of the device was ${cursor}`;
      find('unexplainedDuplicates', clientId, pushNumber, message);
    }
    seen.add(messageId);
  }
  // Not the position of an earlier reset. A device that goes away at once may miss its reset, and
  // while the cluster is faulty everything may be late, but no push comes before the reset.
  const { openedAtMs, closedAtMs } = connection;
  const wasOpen =
    closedAtMs > openedAtMs + LATE_MS &&
    (receipts.length > 0 || index.isCalm(openedAtMs - AFTERMATH_MS, openedAtMs + LATE_MS));
  const isLost =
    index.isAcceptedId(clientId, cursor) && index.wasUnknown(cursor, connection.openedAtMs);
  if (resetsAtMs.length === 0 && wasOpen && isLost) {
    find('lost', clientId, undefined, `no reset although Redis has lost cursor ${cursor}`);
  }
  // No push expires in a drill, and no inbox reaches its limit. But a failover may lose a push that
  // was received and not accepted yet: then the cursor of the device does not exist any more.
  const isKnown = cursor === '' || index.isAcceptedId(clientId, cursor);
  const [resetAtMs] = resetsAtMs;
  // Edges tell all devices of a shard when Redis has lost pushes of it.
  if (resetAtMs !== undefined && isKnown && !index.mayHaveLostWrites(0, resetAtMs)) {
    find(
      'falseVerdicts',
      clientId,
      undefined,
      `a reset after cursor ${cursor || 'none'} although no push is missing`,
    );
  }
}

function checkDurable(index: Indexed, push: Push, received: readonly Received[], find: Find): void {
  const { clientId, number } = push;
  const accepted = push.attempts.find(isAccepted);
  const [first] = received;
  if (accepted !== undefined && first === undefined) {
    if (index.mayBeDestroyed(push) || index.mayBeReplaced(push)) return;
    find('lost', clientId, number, `${accepted.outcome}, and never received`);
  } else if (accepted !== undefined && first!.receipt.atMs > accepted.endedAtMs + LATE_MS) {
    const untilMs = accepted.endedAtMs + LATE_MS;
    const steady = index.steadyConnection(clientId, accepted.sentAtMs, untilMs, STEADY_MS);
    if (steady !== undefined && index.isCalm(accepted.sentAtMs - AFTERMATH_MS, untilMs)) {
      const lateMs = Math.round(first!.receipt.atMs - accepted.endedAtMs);
      find('late', clientId, number, `received ${lateMs} ms after ${accepted.outcome}`);
    }
  }
  const alone = received.filter(({ receipt }) => !receipt.part?.isJoined);
  const ids = new Set(alone.map(({ receipt }) => receipt.messageId));
  if (ids.size > 1 && !mayBeStoredTwice(index, push)) {
    find('unexplainedDuplicates', clientId, number, `one push under ids ${[...ids].join(', ')}`);
  }
}

/** A failover may lose a push that was received and not accepted, with its idempotency key. */
function mayBeStoredTwice(index: Indexed, { attempts }: Push): boolean {
  const [first, last] = [attempts[0], attempts.at(-1)];
  return first !== undefined && index.mayHaveLostWrites(first.sentAtMs, last!.endedAtMs);
}

function checkLive(index: Indexed, push: Push, received: readonly Received[], find: Find): void {
  for (const [i, { connection, receipt }] of received.entries()) {
    const isTwice = received.slice(0, i).some((earlier) => {
      if (earlier.connection === connection) return true;
      // During a takeover, both connections may receive it. An edge that was faulty may receive the
      // publication late, after the device has moved to it from another edge.
      const overlap = connection.openedAtMs <= earlier.connection.closedAtMs + STEADY_MS;
      return !overlap && index.isCalm(earlier.receipt.atMs - AFTERMATH_MS, receipt.atMs);
    });
    const { clientId, number } = push;
    if (isTwice) find('unexplainedDuplicates', clientId, number, 'live-only, and received twice');
  }
}

/** Compares the router's answer with what the device received. */
function checkAttempt(
  index: Indexed,
  push: Push,
  attempt: Attempt,
  received: readonly Received[],
  find: Find,
): void {
  const { clientId, number, isDurable, attempts } = push;
  const { outcome, messageId, sentAtMs, endedAtMs } = attempt;
  const report = (message: string) =>
    find('falseVerdicts', clientId, number, `${outcome}: ${message}`);
  if (OF_ANY.includes(outcome)) return;
  if (!(isDurable ? OF_DURABLE : OF_LIVE).includes(outcome)) {
    return report(`not possible for a ${isDurable ? 'durable' : 'live-only'} push`);
  }
  if (outcome === 'DUPLICATE') {
    const before = attempts.slice(0, attempts.indexOf(attempt));
    const wereRejected = before.every((earlier) => earlier.outcome === 'REJECTED');
    if (wereRejected) report('no earlier attempt can have stored it');
  }
  const alone = received.filter(({ receipt }) => !receipt.part?.isJoined);
  const ids = alone.map(({ receipt }) => receipt.messageId);
  if (attempt.replacedId !== '') checkReplaced(index, push, attempt, report);
  // It was stored again after its key was lost, and then this copy was lost as well, or replaced.
  const isLostCopy =
    mayBeStoredTwice(index, push) && (index.mayBeDestroyed(push) || index.mayBeReplaced(push));
  if (messageId !== '' && ids.length > 0 && !ids.includes(messageId) && !isLostCopy) {
    report(`has id ${messageId}, the device received ${ids.join(', ')}`);
  }
  const isCalm = () => index.isCalm(sentAtMs - AFTERMATH_MS, endedAtMs);
  if (outcome === 'WRITTEN') {
    const [fromMs, toMs] = [sentAtMs - STEADY_MS, endedAtMs + STEADY_MS];
    const hadConnection = index.hasConnection(clientId, fromMs, toMs);
    if (!hadConnection && isCalm()) report('the device had no connection');
  }
  if (isDurable || received.length > 0) return;
  const steady = index.steadyConnection(clientId, sentAtMs, endedAtMs, STEADY_MS);
  if (steady === undefined) return;
  // OFFLINE must be true at any time: an edge that cannot be asked makes it UNKNOWN.
  const mustHold =
    outcome === 'OFFLINE' ? !index.mayBeIsolated(sentAtMs - AFTERMATH_MS, endedAtMs) : isCalm();
  if (!mustHold) return;
  report(outcome === 'WRITTEN' ? 'never received' : `the device was connected to ${steady.edge}`);
}

/**
 * First receipts must follow the order of ids, until a reset: Redis may have again what it had
 * lost. Later duplicates do not count.
 */
function checkFirstReceipts(index: Indexed, clientId: string, find: Find): void {
  const seen = new Set<string>();
  /** Parts that came with later ones, under the id of the last. */
  const joined = new Set<number | undefined>();
  let newest: Receipt | undefined;
  let resetAtMs = Number.NEGATIVE_INFINITY;
  for (const { receipt, connection } of index.receiptsOf(clientId)) {
    const { messageId, pushNumber, part } = receipt;
    const newestResetMs = connection.resetsAtMs.findLast((atMs) => atMs <= receipt.atMs);
    if (newestResetMs !== undefined && newestResetMs > resetAtMs) {
      resetAtMs = newestResetMs;
      newest = undefined;
    }
    if (part?.isJoined) joined.add(pushNumber);
    if (messageId === '' || joined.has(pushNumber) || seen.has(messageId)) continue;
    seen.add(messageId);
    if (newest !== undefined && compareIds(messageId, newest.messageId) < 0) {
      find(
        'outOfOrder',
        clientId,
        pushNumber,
        `${messageId} was first received after ${newest.messageId}`,
      );
    } else {
      newest = receipt;
    }
  }
}

/** The push that another one has replaced had the same key and was older. */
function checkReplaced(
  index: Indexed,
  push: Push,
  { messageId, replacedId }: Attempt,
  report: (message: string) => void,
): void {
  const replaced = index.pushWithId(push.clientId, replacedId);
  if (replaced !== undefined && replaced.collapseKey !== push.collapseKey) {
    const keys = `${replaced.collapseKey || 'none'}, not ${push.collapseKey || 'none'}`;
    report(`replaced push ${replaced.number} with the key ${keys}`);
  }
  if (messageId !== '' && compareIds(replacedId, messageId) >= 0) {
    report(`replaced ${replacedId}, which is not older than ${messageId}`);
  }
}

/**
 * A part of a growing message is always at the same place, behind the parts that were sent before
 * it. Parts are sent one after the other, so in the order of their numbers. After a loss of writes,
 * a message may begin again.
 */
function checkParts(index: Indexed, clientId: string, find: Find): void {
  const messages = new Map<string, Map<number, ReceivedPart>>();
  const mayHaveLost = (from: Push, to: Push) =>
    index.mayHaveLostWrites(
      from.attempts[0]!.sentAtMs - AFTERMATH_MS,
      to.attempts.at(-1)!.endedAtMs,
    );
  for (const { receipt } of index.receiptsOf(clientId)) {
    const { part, pushNumber } = receipt;
    const push = pushNumber === undefined ? undefined : index.pushOf(pushNumber, clientId);
    if (push === undefined || (push.appendTo === '' && part === undefined)) continue;
    // A push that was never sent is a phantom.
    if (push.attempts.length === 0 || mayHaveLost(push, push)) continue;
    if (part?.to !== push.appendTo) {
      const to = part?.to ?? 'no message';
      find('corrupted', clientId, push.number, `a part of ${to}, not of ${push.appendTo}`);
      continue;
    }
    const parts = messages.get(part.to) ?? new Map<number, ReceivedPart>();
    messages.set(part.to, parts);
    const known = parts.get(push.number);
    if (known !== undefined && known.offset !== part.offset) {
      const message = `at ${part.offset} of its message, and before at ${known.offset}`;
      find('corrupted', clientId, push.number, message);
    }
    parts.set(push.number, part);
  }
  for (const parts of messages.values()) {
    let [end, before]: [number, Push | undefined] = [0, undefined];
    for (const [number, { offset, bytes, to }] of [...parts].sort(([a], [b]) => a - b)) {
      const push = index.pushOf(number, clientId)!;
      if (offset < end && !mayHaveLost(before!, push)) {
        const message = `at ${offset} of ${to}, before the end of earlier parts`;
        find('outOfOrder', clientId, number, message);
      }
      [end, before] = [offset + bytes, push];
    }
  }
}

/** A push that was stored before another was sent has the smaller id, through any router. */
function checkRealTime(index: Indexed, clientId: string, find: Find): void {
  let latest: { push: Push; sentAtMs: number; messageId: string } | undefined;
  for (const { push, messageId } of index.storedOf(clientId)) {
    const sentAtMs = push.attempts[0]!.sentAtMs;
    const storedAtMs = push.attempts.find(isAccepted)!.endedAtMs;
    if (latest !== undefined && storedAtMs < latest.sentAtMs) {
      const later = `${latest.messageId} of push ${latest.push.number}, which was sent later`;
      find('outOfOrder', clientId, push.number, `has id ${messageId}, after ${later}`);
    }
    if (latest === undefined || sentAtMs > latest.sentAtMs) latest = { push, sentAtMs, messageId };
  }
}
