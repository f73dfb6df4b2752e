/** Index of a history: each query of the check is answered without a scan of the whole history. */
import type { Attempt, Connection, History, Loss, Push, Receipt } from './history.js';

export interface Received {
  readonly connection: Connection;
  readonly receipt: Receipt;
}

export interface Indexed {
  readonly clientIds: readonly string[];
  /** The push to the client; if there is none with this number, that to another client. */
  pushOf(number: number, clientId: string): Push | undefined;
  /** Receipts of the push by its own client, the first receipt first. */
  receivedOf(push: Push): readonly Received[];
  /** All receipts of a client, in the order of time. */
  receiptsOf(clientId: string): readonly Received[];
  /** Accepted durable pushes of a client whose id is known, in the order of ids. */
  storedOf(clientId: string): readonly { push: Push; messageId: string }[];
  /** Whether an accepted push of the client has this id. */
  isAcceptedId(clientId: string, messageId: string): boolean;
  /** Whether Redis may have lost writes between these times, accepted or not. */
  mayHaveLostWrites(fromMs: number, toMs: number): boolean;
  /**
   * Whether the accepted push may have been destroyed by a fault that its level does not survive.
   */
  mayBeDestroyed(push: Push): boolean;
  /** Whether a later push with the same collapse key may have replaced the push. */
  mayBeReplaced(push: Push): boolean;
  /** The push of the client that was stored under this id, if an answer or a receipt shows it. */
  pushWithId(clientId: string, messageId: string): Push | undefined;
  /** Whether Redis certainly did not know this id when the connection was opened. */
  wasUnknown(messageId: string, openedAtMs: number): boolean;
  /**
   * Whether the client received a reset after the beginning of the loss that destroyed the push.
   */
  wasAnnounced(push: Push): boolean;
  /** Whether no part of the cluster was faulty between these times. */
  isCalm(fromMs: number, toMs: number): boolean;
  /**
   * Whether an edge may have been gone for the cluster between these times, and have kept its
   * devices.
   */
  mayBeIsolated(fromMs: number, toMs: number): boolean;
  /** Unanswered requests count, too: an edge may regard them as connections. */
  hasConnection(clientId: string, fromMs: number, toMs: number): boolean;
  /**
   * The connection that was open from `marginMs` before to `marginMs` after these times, if it was
   * the only one and the device read from it.
   */
  steadyConnection(
    clientId: string,
    fromMs: number,
    toMs: number,
    marginMs: number,
  ): Connection | undefined;
}

/** Whether the push is certainly stored by the end of this attempt. */
export function isAccepted({ outcome }: Attempt): boolean {
  return (
    outcome === 'STORED' || outcome === 'WRITTEN' || outcome === 'ACKED' || outcome === 'DUPLICATE'
  );
}

/** Ids are `<ms>-<n>`, two decimal numbers of any length. */
export function compareIds(a: string, b: string): number {
  const [aMs, aN] = a.split('-').map(BigInt) as [bigint, bigint];
  const [bMs, bN] = b.split('-').map(BigInt) as [bigint, bigint];
  if (aMs !== bMs) return aMs < bMs ? -1 : 1;
  return aN === bN ? 0 : aN < bN ? -1 : 1;
}

export function indexOf(history: History): Indexed {
  const pushes = groupBy(history.pushes, ({ number }) => number);
  const pushOf = (number: number, clientId: string) => {
    const all = pushes.get(number);
    return all?.find((push) => push.clientId === clientId) ?? all?.[0];
  };
  const connections = groupBy(history.connections, ({ clientId }) => clientId);
  const unanswered = groupBy(history.unansweredRequests, ({ clientId }) => clientId);
  const absences = groupBy(history.absences, ({ clientId }) => clientId);
  const durable = groupBy(
    history.pushes.filter(({ isDurable }) => isDurable),
    ({ clientId }) => clientId,
  );
  const { receipts, received } = indexReceipts(connections, pushOf);
  const losses = history.disturbances.flatMap(({ loss }) => loss ?? []);
  const receivedOf = (push: Push) => received.get(push) ?? [];
  const disturbancesIn = (fromMs: number, toMs: number) =>
    history.disturbances.filter((each) => each.fromMs <= toMs && each.toMs >= fromMs);
  const overlapping = (clientId: string, fromMs: number, toMs: number) =>
    (connections.get(clientId) ?? []).filter(
      ({ openedAtMs, closedAtMs }) => openedAtMs <= toMs && closedAtMs >= fromMs,
    );
  const durableOf = (clientId: string) => durable.get(clientId) ?? [];
  const acceptedIdsOf = remember(
    (clientId: string) => new Set(durableOf(clientId).flatMap((push) => idsOf(push, receivedOf))),
  );
  const byCollapseKey = remember((clientId: string) =>
    groupBy(durableOf(clientId), ({ collapseKey }) => collapseKey),
  );
  const byId = remember((clientId: string) => {
    // The last entry of an id stays: that of the first push.
    const newestFirst = durableOf(clientId).toReversed();
    return new Map(
      newestFirst.flatMap((push) =>
        push.attempts.map(({ messageId }) => [messageId, push] as const),
      ),
    );
  });
  return {
    clientIds: [...new Set([...connections.keys(), ...durable.keys()])],
    pushOf,
    receivedOf,
    receiptsOf: (clientId) => receipts.get(clientId) ?? [],
    storedOf(clientId) {
      const stored = durableOf(clientId).flatMap((push) => {
        const accepted = push.attempts.find(isAccepted);
        const alone = receivedOf(push).find(({ receipt }) => !receipt.part?.isJoined);
        const messageId = accepted?.messageId || alone?.receipt.messageId;
        return accepted !== undefined && messageId ? [{ push, messageId }] : [];
      });
      return stored.sort((a, b) => compareIds(a.messageId, b.messageId));
    },
    isAcceptedId: (clientId, messageId) => acceptedIdsOf(clientId).has(messageId),
    mayHaveLostWrites: (fromMs, toMs) =>
      disturbancesIn(fromMs, toMs).some(({ loss }) => loss !== undefined),
    mayBeDestroyed: (push) => losses.some((loss) => isWithin(loss, push)),
    mayBeReplaced: (push) =>
      push.collapseKey !== '' &&
      (byCollapseKey(push.clientId).get(push.collapseKey) ?? []).some((other) =>
        mayReplace(other, push, receivedOf),
      ),
    pushWithId: (clientId, messageId) => byId(clientId).get(messageId),
    wasUnknown: (messageId, openedAtMs) => {
      const unixMs = Number.parseInt(messageId, 10);
      return losses.some(
        ({ unknownIds: ids }) =>
          ids !== undefined &&
          openedAtMs >= ids.sinceMs &&
          unixMs >= ids.fromUnixMs &&
          unixMs <= ids.toUnixMs,
      );
    },
    wasAnnounced: (push) => {
      const fromMs = Math.min(
        ...losses.filter((loss) => isWithin(loss, push)).map((loss) => loss.fromMs),
      );
      return (connections.get(push.clientId) ?? []).some(({ resetsAtMs }) =>
        resetsAtMs.some((atMs) => atMs >= fromMs),
      );
    },
    isCalm: (fromMs, toMs) => disturbancesIn(fromMs, toMs).length === 0,
    mayBeIsolated: (fromMs, toMs) =>
      disturbancesIn(fromMs, toMs).some(({ isolates }) => isolates === true),
    hasConnection: (clientId, fromMs, toMs) =>
      overlapping(clientId, fromMs, toMs).length > 0 ||
      (unanswered.get(clientId) ?? []).some((each) => each.fromMs <= toMs && each.toMs >= fromMs),
    steadyConnection(clientId, fromMs, toMs, marginMs) {
      const [beginMs, endMs] = [fromMs - marginMs, toMs + marginMs];
      const [only, ...others] = overlapping(clientId, beginMs, endMs);
      if (only === undefined || others.length > 0) return undefined;
      const wasAbsent = (absences.get(clientId) ?? []).some(
        (absence) => absence.fromMs <= endMs && absence.toMs >= beginMs,
      );
      const wasSteady = only.openedAtMs <= beginMs && only.closedAtMs >= endMs;
      return wasSteady && !wasAbsent ? only : undefined;
    },
  };
}

/**
 * The ids under which a push was accepted: those in the answers, and of an answer without one, all.
 */
function idsOf(push: Push, receivedOf: (push: Push) => readonly Received[]): string[] {
  return push.attempts
    .filter(isAccepted)
    .flatMap(({ messageId }) =>
      messageId === '' ? receivedOf(push).map(({ receipt }) => receipt.messageId) : [messageId],
    );
}

/**
 * An answer of `other`, with the same key, names the push, or one that may not have arrived could
 * have.
 */
function mayReplace(
  other: Push,
  push: Push,
  receivedOf: (push: Push) => readonly Received[],
): boolean {
  if (other === push) return false;
  const ids = idsOf(push, receivedOf);
  if (ids.length === 0) return true;
  return other.attempts.some(({ outcome, replacedId, endedAtMs }) => {
    if (ids.includes(replacedId)) return true;
    const isUnseen = !(outcome === 'STORED' || outcome === 'WRITTEN' || outcome === 'REJECTED');
    return isUnseen && endedAtMs >= push.attempts[0]!.sentAtMs;
  });
}

/** Whether the push was accepted in the period of the loss, at a level that does not survive it. */
function isWithin({ levels, fromMs, toMs, clientIds }: Loss, push: Push): boolean {
  const { level, attempts, clientId } = push;
  if (clientIds !== undefined && !clientIds.includes(clientId)) return false;
  const accepted = attempts.find(isAccepted);
  if (accepted === undefined || level === undefined || !levels.includes(level)) return false;
  // A duplicate was stored by an attempt before it.
  const stored = accepted.outcome === 'DUPLICATE' ? attempts.find(mayBeStored)! : accepted;
  return stored.sentAtMs <= toMs && accepted.endedAtMs >= fromMs;
}

function mayBeStored({ outcome }: Attempt): boolean {
  return outcome !== 'REJECTED';
}

function indexReceipts(
  connections: ReadonlyMap<string, readonly Connection[]>,
  pushOf: Indexed['pushOf'],
) {
  /** By clientId, in the order of time. */
  const receipts = new Map<string, Received[]>();
  /** Receipts by the right client. */
  const received = new Map<Push, Received[]>();
  for (const [clientId, ofClient] of connections) {
    const all = ofClient.flatMap((connection) =>
      connection.receipts.map((receipt) => ({ connection, receipt })),
    );
    all.sort((a, b) => a.receipt.atMs - b.receipt.atMs);
    receipts.set(clientId, all);
    for (const each of all) {
      const number = each.receipt.pushNumber;
      const push = number === undefined ? undefined : pushOf(number, clientId);
      if (push?.clientId !== clientId) continue;
      const ofPush = received.get(push);
      if (ofPush === undefined) received.set(push, [each]);
      else ofPush.push(each);
    }
  }
  return { receipts, received };
}

/** The function, which computes each value once. */
function remember<Key, Value>(compute: (key: Key) => Value): (key: Key) => Value {
  const known = new Map<Key, Value>();
  return (key) => {
    if (!known.has(key)) known.set(key, compute(key));
    return known.get(key)!;
  };
}

export function groupBy<T, Key>(items: readonly T[], keyOf: (item: T) => Key): Map<Key, T[]> {
  const groups = new Map<Key, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}
