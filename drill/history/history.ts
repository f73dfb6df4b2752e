/**
 * What happened, as seen from outside: every push with every answer to it, every connection with
 * everything that came over it, and what was broken when. It is all that the check knows.
 *
 * All times are milliseconds of one monotonic clock: backend and devices live in one process, so
 * no two of them can disagree about what came first.
 */

/**
 * How one attempt to push ended. The verdicts of the Push API, and beside them: `REFUSED` an error
 * that says that nothing was done · `UNANSWERED` the stream ended before an answer came.
 */
export type PushOutcome =
  | 'ACKED'
  | 'WRITTEN'
  | 'STORED'
  | 'OFFLINE'
  | 'SLOW'
  | 'DUPLICATE'
  | 'UNKNOWN'
  | 'REFUSED'
  | 'UNANSWERED';

export interface Attempt {
  readonly router: string;
  readonly sentAtMs: number;
  /** Infinity while it is not answered. */
  endedAtMs: number;
  outcome: PushOutcome | undefined;
  /** The id that the answer names; '' for none. */
  messageId: string;
  /** The code and the message of a rejection. */
  detail: string;
}

export interface Push {
  /** Unique in the run; the payload carries it. */
  readonly number: number;
  readonly clientId: string;
  readonly isDurable: boolean;
  /** CRC-32 of the payload. */
  readonly digest: number;
  /** In order; all with the same idempotency key. A live-only push has one. */
  readonly attempts: Attempt[];
}

export interface Receipt {
  readonly atMs: number;
  /** What the event carries; '' for none. */
  readonly messageId: string;
  /** What the payload says; undefined when it cannot be read. */
  readonly pushNumber: number | undefined;
  readonly digest: number;
}

/** From the answer to a device's request until the device knows that it is over. */
export interface Connection {
  readonly clientId: string;
  /** `host:port` of the edge. */
  readonly edge: string;
  /** The id that the device named; '' for none. */
  readonly cursor: string;
  readonly openedAtMs: number;
  /** Infinity while it is open. */
  closedAtMs: number;
  closedBecause: string;
  readonly receipts: Receipt[];
  /** When the edge said that the history past the cursor is not complete. */
  readonly resetsAtMs: number[];
}

/** A time in which a device did not listen, of its own will. */
export interface Absence {
  readonly clientId: string;
  readonly fromMs: number;
  toMs: number;
}

/**
 * From a device's request until it gave up or was rejected. An edge may have answered all the same,
 * and pushed, just before the device stopped listening.
 */
export interface UnansweredTry {
  readonly clientId: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** A time in which something of the cluster was broken. */
export interface Disturbance {
  readonly kind: string;
  readonly target: string;
  readonly fromMs: number;
  /** When it was whole again, by its own account; Infinity before. */
  toMs: number;
}

export interface History {
  readonly pushes: readonly Push[];
  readonly connections: readonly Connection[];
  readonly unansweredTries: readonly UnansweredTry[];
  readonly absences: readonly Absence[];
  readonly disturbances: readonly Disturbance[];
}

/** The same while it is being written. */
export interface HistoryInProgress {
  readonly pushes: Push[];
  readonly connections: Connection[];
  readonly unansweredTries: UnansweredTry[];
  readonly absences: Absence[];
  readonly disturbances: Disturbance[];
}

export function newHistory(): HistoryInProgress {
  return { pushes: [], connections: [], unansweredTries: [], absences: [], disturbances: [] };
}
