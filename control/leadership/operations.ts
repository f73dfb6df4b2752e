/**
 * What operators can see and do of moves, as their API asks it. The leader does it; a control that
 * is not the leader rejects with NOT_LEADER, and the message names who is.
 */
import type { Intent, Position } from '../../common/cluster/assignment.js';
import type { Rejection } from '../../common/process/errors.js';
import type { Change } from './changes.js';
import type { DrainProgress } from '../pace/drain-progress.js';
import type { Pace } from '../pace/pace.js';
import type { PlanSummary } from '../planning/plan-summary.js';

/** Who does something, and why; for the event log. */
export interface Audit {
  /** The name of the token, or `local` where nobody has to show one. */
  readonly actor: string;
  /** Empty: none was given. */
  readonly reason: string;
}

export interface MovesInfo {
  readonly inFlight: readonly {
    readonly shard: number;
    readonly from: string;
    readonly to: string;
    readonly phase: 'acquiring' | 'handing-over';
    /** Clients that are still to go. Undefined: the edge does not report. */
    readonly clientsRemaining: number | undefined;
  }[];
  /** Planned, and not begun. */
  readonly pending: number;
  readonly isPaused: boolean;
  /** Unix time in milliseconds: while most edges have vanished at once, when that is believed. */
  readonly frozenUntilMs: number | undefined;
  readonly perSecond: number;
  readonly paceReason: Pace['reason'];
  /** Undefined while nothing goes. */
  readonly secondsRemaining: number | undefined;
  readonly drains: readonly DrainProgress[];
}

/** A plan for the assignment `on`. */
export interface PlanInfo extends PlanSummary {
  readonly on: Position;
}

export interface DrainOptions {
  /** Goaways a second of this edge at most. Undefined: what the cluster's pace gives it. */
  readonly perSecondMax: number | undefined;
  /** When the edge closes whoever is left. Undefined: never. */
  readonly deadlineMs: number | undefined;
}

export type LogEntry =
  /** Most edges have vanished at once: nothing is decided. */
  | { readonly type: 'frozen' }
  | { readonly type: 'unfrozen' }
  /** It is heard and says that it is not ready: its shards go to others, until it is ready again. */
  | { readonly type: 'edge-partitioned'; readonly edgeId: string }
  | { readonly type: 'edge-recovered'; readonly edgeId: string }
  /** What is stored cannot be understood; the last good assignment stays in force. */
  | { readonly type: 'assignment-invalid'; readonly reason: string }
  /** A process was not let in as this edge. */
  | { readonly type: 'edge-rejected'; readonly edgeId: string; readonly reason: string }
  /** What the edge reports makes no sense; it lives, but its load is unknown. */
  | { readonly type: 'report-rejected'; readonly edgeId: string; readonly reason: string }
  | Change
  | OperatorEntry
  | { readonly type: 'leader-changed'; readonly controlId: string };

export interface OperatorEntry extends Audit {
  readonly type: 'operator';
  readonly action:
    | 'rebalance'
    | 'pause'
    | 'resume'
    | 'abort'
    | 'drain'
    | 'undrain'
    | 'cordon'
    | 'confirm-lost-edges';
  /** Of which edge; empty: of the cluster. */
  readonly edgeId: string;
}

/** One line of the event log. Ids grow by one within the life of a control. */
export interface LoggedEvent {
  readonly id: number;
  readonly atMs: number;
  readonly position: Position;
  readonly entry: LogEntry;
}

export interface Operations {
  moves(): MovesInfo;
  /** What `rebalance` would do now. */
  plan(): PlanInfo | Rejection;
  /** @param on the assignment that the operator has seen the plan for; undefined: whatever is now */
  rebalance(on: Position | undefined, by: Audit): PlanInfo | Rejection;
  pause(by: Audit): Rejection | undefined;
  resume(by: Audit): Rejection | undefined;
  abort(by: Audit): Rejection | undefined;
  /** `none` takes a drain or a cordon back. */
  setIntent(
    edgeId: string,
    intent: Intent,
    options: DrainOptions & { readonly isForced: boolean },
    by: Audit,
  ): Rejection | undefined;
  /** The edges that have vanished are gone: what is frozen goes on. */
  confirmLostEdges(by: Audit): Rejection | undefined;
  /** The events with an id above `after`, oldest first; only the last thousand or so are kept. */
  eventsAfter(after: number): readonly LoggedEvent[];
  /** Hears each event from now on, until the returned function is called. */
  watchEvents(onEvent: (event: LoggedEvent) => void): () => void;
}
