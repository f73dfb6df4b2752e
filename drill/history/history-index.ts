/** Index of a history: each query of the check is answered without a scan of the whole history. */
import type { Attempt, Connection, History, Loss, Push, Receipt } from './history.js';

export interface Received {
  readonly connection: Connection;
  readonly receipt: Receipt;
}

export interface Indexed {
  readonly clientIds: readonly string[];
  pushOf(number: number): Push | undefined;
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
  /** Whether the accepted push may have been destroyed by a fault that its level does not survive. */
  mayBeDestroyed(push: Push): boolean;
  /** Whether Redis certainly did not know this id when the connection was opened. */
  wasUnknown(messageId: string, openedAtMs: number): boolean;
  /** Whether the client received a reset after the beginning of the loss that destroyed the push. */
  wasAnnounced(push: Push): boolean;
  /** Whether no part of the cluster was faulty between these times. */
  isCalm(fromMs: number, toMs: number): boolean;
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
  const pushes = new Map(history.pushes.map((push) => [push.number, push]));
  const connections = groupBy(history.connections, ({ clientId }) => clientId);
  const unanswered = groupBy(history.unansweredRequests, ({ clientId }) => clientId);
  const absences = groupBy(history.absences, ({ clientId }) => clientId);
  const durable = groupBy(
    history.pushes.filter(({ isDurable }) => isDurable),
    ({ clientId }) => clientId,
  );
  const { receipts, received } = indexReceipts(connections, pushes);
  const losses = history.disturbances.flatMap(({ loss }) => loss ?? []);
  const receivedOf = (push: Push) => received.get(push.number) ?? [];
  const overlapping = (clientId: string, fromMs: number, toMs: number) =>
    (connections.get(clientId) ?? []).filter(
      ({ openedAtMs, closedAtMs }) => openedAtMs <= toMs && closedAtMs >= fromMs,
    );
  return {
    clientIds: [...new Set([...connections.keys(), ...durable.keys()])],
    pushOf: (number) => pushes.get(number),
    receivedOf,
    receiptsOf: (clientId) => receipts.get(clientId) ?? [],
    storedOf(clientId) {
      const stored = (durable.get(clientId) ?? []).flatMap((push) => {
        const accepted = push.attempts.find(isAccepted);
        const messageId = accepted?.messageId || receivedOf(push)[0]?.receipt.messageId;
        return accepted !== undefined && messageId ? [{ push, messageId }] : [];
      });
      return stored.sort((a, b) => compareIds(a.messageId, b.messageId));
    },
    isAcceptedId: (clientId, messageId) =>
      (durable.get(clientId) ?? []).some(
        (push) =>
          push.attempts.some((each) => isAccepted(each) && each.messageId === messageId) ||
          (push.attempts.some((each) => isAccepted(each) && each.messageId === '') &&
            receivedOf(push).some(({ receipt }) => receipt.messageId === messageId)),
      ),
    mayHaveLostWrites: (fromMs, toMs) =>
      history.disturbances.some(
        (each) => each.loss !== undefined && each.fromMs <= toMs && each.toMs >= fromMs,
      ),
    mayBeDestroyed: (push) => losses.some((loss) => isWithin(loss, push)),
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
    isCalm: (fromMs, toMs) =>
      !history.disturbances.some((each) => each.fromMs <= toMs && each.toMs >= fromMs),
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

/** Whether the push was accepted in the period of the loss, at a level that does not survive it. */
function isWithin({ levels, fromMs, toMs, clientIds }: Loss, push: Push): boolean {
  const { level, attempts, clientId } = push;
  if (clientIds !== undefined && !clientIds.includes(clientId)) return false;
  const accepted = attempts.find(isAccepted);
  if (accepted === undefined || level === undefined || !levels.includes(level)) return false;
  return accepted.sentAtMs <= toMs && accepted.endedAtMs >= fromMs;
}

function indexReceipts(
  connections: ReadonlyMap<string, readonly Connection[]>,
  pushes: ReadonlyMap<number, Push>,
) {
  /** By clientId, in the order of time. */
  const receipts = new Map<string, Received[]>();
  /** Receipts by the right client, by push number. */
  const received = new Map<number, Received[]>();
  for (const [clientId, ofClient] of connections) {
    const all = ofClient.flatMap((connection) =>
      connection.receipts.map((receipt) => ({ connection, receipt })),
    );
    all.sort((a, b) => a.receipt.atMs - b.receipt.atMs);
    receipts.set(clientId, all);
    for (const each of all) {
      const number = each.receipt.pushNumber;
      if (number === undefined || pushes.get(number)?.clientId !== clientId) continue;
      const ofPush = received.get(number);
      if (ofPush === undefined) received.set(number, [each]);
      else ofPush.push(each);
    }
  }
  return { receipts, received };
}

export function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}
