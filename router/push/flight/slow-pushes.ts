/**
 * The slowest pushes of the last minute. Pure: the time is an argument.
 *
 * Bound: `SLOW_PUSHES_MAX` for each of the last seven intervals of ten seconds; the fastest ones
 * are forgotten.
 */
import type { QueryResult } from '../../../common/cluster/shard-query.js';
import { type SlowPush, SlowPushCause } from '../../../proto/gen/longline/v1/assignment.js';
import type { PushResponse } from '../../../proto/gen/longline/v1/push.js';

export const SLOW_PUSHES_MAX = 20;
const KEPT_MS = 60_000;
const INTERVAL_MS = 10_000;

/** A push that got a verdict. */
export interface Answered {
  readonly response: PushResponse;
  readonly answers: QueryResult;
  /**
   * Time for which the confirmation of the device was awaited: it says nothing about the cluster.
   */
  readonly confirmingMs: number;
}

/** Facts of a push that outlive it. */
export interface PushedTo {
  readonly clientId: string;
  readonly payloadBytes: number;
}

/** A push with the time of its verdict, in ms of the monotonic clock. */
type Entry = Omit<SlowPush, 'ageMs'> & { readonly atMs: number };

interface Interval {
  readonly startedMs: number;
  /** The slowest first. */
  readonly entries: Entry[];
}

export class SlowPushes {
  /** The newest first. */
  readonly #intervals: Interval[] = [];
  /** A push that took less is not among the slowest. */
  #thresholdMs = 0;
  #endsMs = Number.NEGATIVE_INFINITY;

  /**
   * A push was answered.
   * @param startedMs when it was begun, and `nowMs`, in ms of the monotonic clock
   */
  onVerdict(push: PushedTo, answered: Answered, startedMs: number, nowMs: number): void {
    const totalMs = nowMs - startedMs - answered.confirmingMs;
    if (nowMs >= this.#endsMs) this.#begin(nowMs);
    if (totalMs > this.#thresholdMs) this.#add(entryOf(push, answered, startedMs, totalMs, nowMs));
  }

  #add(entry: Entry): void {
    const { entries } = this.#intervals[0]!;
    const at = entries.findIndex(({ totalMs }) => totalMs < entry.totalMs);
    entries.splice(at === -1 ? entries.length : at, 0, entry);
    if (entries.length > SLOW_PUSHES_MAX) entries.pop();
    if (entries.length === SLOW_PUSHES_MAX) this.#thresholdMs = entries.at(-1)!.totalMs;
  }

  /** The slowest first. */
  slowest(nowMs: number): SlowPush[] {
    return this.#intervals
      .flatMap(({ entries }) => entries)
      .filter(({ atMs }) => nowMs - atMs < KEPT_MS)
      .sort((a, b) => b.totalMs - a.totalMs)
      .slice(0, SLOW_PUSHES_MAX)
      .map(({ atMs, ...push }) => ({ ...push, ageMs: Math.round(nowMs - atMs) }));
  }

  #begin(nowMs: number): void {
    this.#intervals.unshift({ startedMs: nowMs, entries: [] });
    while (nowMs - this.#intervals.at(-1)!.startedMs > KEPT_MS + INTERVAL_MS) this.#intervals.pop();
    this.#thresholdMs = 0;
    this.#endsMs = nowMs + INTERVAL_MS;
  }
}

function entryOf(
  { clientId, payloadBytes }: PushedTo,
  { response, answers }: Answered,
  startedMs: number,
  totalMs: number,
  nowMs: number,
): Entry {
  const { verdict, messageId, flightRecord } = response;
  const { waits, bodies } = answers;
  const since = (ms: number) => (ms === 0 ? undefined : Math.max(0, ms - startedMs));
  const known = { redisMs: since(waits.sentAtMs), edgesMs: since(waits.repliedAtMs) };
  const { receivers = 0, stalledMs, isTimedOut } = waits;
  return {
    clientId,
    verdict,
    messageId,
    payloadBytes,
    totalMs,
    ...known,
    cause: causeOf({
      ...{ totalMs, stalledMs, receivers, isTimedOut },
      ...known,
      replies: bodies.length,
    }),
    flightRecord,
    atMs: nowMs,
  };
}

/** The waits of a push, as far as they are known. Times are in ms since the request. */
export interface Waits {
  readonly totalMs: number;
  /** Until Redis had replied. Undefined: it has not. */
  readonly redisMs: number | undefined;
  /** Until the last edge had replied. Undefined: none has. */
  readonly edgesMs: number | undefined;
  /** For which the event loop of the router was busy with other work. */
  readonly stalledMs: number;
  /** Subscribers that received the push, as Redis has counted them. */
  readonly receivers: number;
  readonly replies: number;
  /** The push was answered because its wait was over. */
  readonly isTimedOut: boolean;
}

/** The times of edges and Redis are known to about 20 ms, so shorter waits prove nothing. */
const TELLING_MS = 50;

export function causeOf(waits: Waits): SlowPushCause {
  const { totalMs, redisMs, edgesMs = 0, stalledMs, receivers, replies, isTimedOut } = waits;
  if (redisMs === undefined) return SlowPushCause.SLOW_PUSH_CAUSE_REDIS_SILENT;
  if (isTimedOut) {
    return replies < receivers
      ? SlowPushCause.SLOW_PUSH_CAUSE_EDGE_SILENT
      : SlowPushCause.SLOW_PUSH_CAUSE_NO_OWNER;
  }
  if (totalMs < TELLING_MS) return SlowPushCause.SLOW_PUSH_CAUSE_UNSPECIFIED;
  const answeredMs = Math.max(redisMs, edgesMs);
  if (Math.max(stalledMs, totalMs - answeredMs) > totalMs / 2) {
    return SlowPushCause.SLOW_PUSH_CAUSE_ROUTER;
  }
  return edgesMs > 2 * redisMs
    ? SlowPushCause.SLOW_PUSH_CAUSE_EDGE
    : SlowPushCause.SLOW_PUSH_CAUSE_REDIS;
}
