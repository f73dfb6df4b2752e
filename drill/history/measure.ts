/** Figures of a history. Pure. */
import type { Absence, History, Push } from './history.js';
import { groupBy, type Indexed, indexOf, isAccepted } from './history-index.js';

export interface Figures {
  /** Durable pushes that are certainly stored. */
  readonly accepted: number;
  /** Pushes, durable or live-only, that their client received at least once. */
  readonly delivered: number;
  /** Receipts of a push beyond the first. */
  readonly duplicates: number;
  /** Attempts without an answer or with UNKNOWN. */
  readonly unknown: number;
  /**
   * From the sending of an accepted push until its receipt, without the absences of the device.
   * Faults of the cluster are part of it, on purpose.
   */
  readonly p50GapMs: number;
  readonly p99GapMs: number;
  readonly maxGapMs: number;
  readonly connections: number;
  /** Accepted pushes that a fault destroyed because their level does not survive it, by level. */
  readonly destroyed: Readonly<Record<string, number>>;
  /** Those of them whose device received no `reset` afterwards. */
  readonly unannounced: number;
  /** Faults in which a role had too little memory: how they ended, and how often load was shed. */
  readonly squeezed: { readonly survived: number; readonly killed: number; readonly shed: number };
  /**
   * By kind of fault, the longest time without delivery: from the first sending of a push until its
   * receipt, rejected attempts included, without the absences of the device. It counts for every
   * fault that was in progress meanwhile.
   */
  readonly longestMs: Readonly<Record<string, number>>;
}

export function measure(history: History): Figures {
  const index = indexOf(history);
  const gapsMs: number[] = [];
  let [accepted, delivered, duplicates, unknown] = [0, 0, 0, 0];
  const absences = groupBy(history.absences, ({ clientId }) => clientId);
  for (const push of history.pushes) {
    const received = index.receivedOf(push);
    const acceptance = push.isDurable ? push.attempts.find(isAccepted) : undefined;
    if (acceptance !== undefined) accepted++;
    if (received.length > 0) delivered++;
    duplicates += Math.max(0, received.length - 1);
    unknown += push.attempts.filter(
      ({ outcome }) => outcome === 'UNKNOWN' || outcome === 'UNANSWERED',
    ).length;
    if (acceptance === undefined || received.length === 0) continue;
    const [fromMs, toMs] = [acceptance.sentAtMs, received[0]!.receipt.atMs];
    gapsMs.push(Math.max(0, toMs - fromMs - absentMs(absences.get(push.clientId), fromMs, toMs)));
  }
  gapsMs.sort((a, b) => a - b);
  return {
    accepted,
    delivered,
    duplicates,
    unknown,
    p50GapMs: quantile(gapsMs, 0.5),
    p99GapMs: quantile(gapsMs, 0.99),
    maxGapMs: quantile(gapsMs, 1),
    connections: history.connections.length,
    ...countDestroyed(history, index),
    squeezed: countSqueezed(history),
    longestMs: longestByFault(history, index, absences),
  };
}

function countDestroyed(
  { pushes }: History,
  index: Indexed,
): Pick<Figures, 'destroyed' | 'unannounced'> {
  const destroyed: Record<string, number> = {};
  let unannounced = 0;
  for (const push of pushes) {
    if (!index.mayBeDestroyed(push) || index.receivedOf(push).length > 0) continue;
    destroyed[push.level!] = (destroyed[push.level!] ?? 0) + 1;
    if (!index.wasAnnounced(push)) unannounced++;
  }
  return { destroyed, unannounced };
}

function countSqueezed({ disturbances }: History): Figures['squeezed'] {
  const squeezes = disturbances.flatMap(({ squeeze }) => squeeze ?? []);
  const killed = squeezes.filter(({ isKilled }) => isKilled).length;
  const shed = squeezes.reduce((sum, each) => sum + each.shed, 0);
  return { survived: squeezes.length - killed, killed, shed };
}

interface Undelivered {
  readonly push: Push;
  readonly fromMs: number;
  readonly toMs: number;
  readonly ms: number;
}

function longestByFault(
  history: History,
  index: Indexed,
  absences: ReadonlyMap<string, readonly Absence[]>,
): Record<string, number> {
  const longestFirst = undelivered(history, index, absences).sort((a, b) => b.ms - a.ms);
  const isDuring = (
    each: Undelivered,
    fault: { fromMs: number; toMs: number; clientIds?: readonly string[] },
  ) =>
    fault.fromMs <= each.toMs &&
    fault.toMs >= each.fromMs &&
    (fault.clientIds?.includes(each.push.clientId) ?? true);
  const kinds = groupBy([...history.disturbances, ...history.deviceFaults], ({ kind }) => kind);
  return Object.fromEntries(
    [...kinds].map(([kind, faults]) => {
      const longest = longestFirst.find((each) => faults.some((fault) => isDuring(each, fault)));
      return [kind, Math.round(longest?.ms ?? 0)];
    }),
  );
}

/** Durable pushes that were accepted and received, and for how long they were not. */
function undelivered(
  history: History,
  index: Indexed,
  absences: ReadonlyMap<string, readonly Absence[]>,
): Undelivered[] {
  return history.pushes.flatMap((push) => {
    const [first] = index.receivedOf(push);
    const [attempt] = push.attempts;
    if (!push.isDurable || first === undefined || attempt === undefined) return [];
    const [fromMs, toMs] = [attempt.sentAtMs, first.receipt.atMs];
    const absentForMs = absentMs(absences.get(push.clientId), fromMs, toMs);
    return [{ push, fromMs, toMs, ms: Math.max(0, toMs - fromMs - absentForMs) }];
  });
}

function absentMs(absences: readonly Absence[] | undefined, fromMs: number, toMs: number): number {
  let sumMs = 0;
  for (const absence of absences ?? []) {
    sumMs += Math.max(0, Math.min(toMs, absence.toMs) - Math.max(fromMs, absence.fromMs));
  }
  return sumMs;
}

/** @param sorted in ascending order; the result is 0 when it is empty */
function quantile(sorted: readonly number[], share: number): number {
  const at = Math.min(sorted.length - 1, Math.floor(sorted.length * share));
  return Math.round(sorted[at] ?? 0);
}
