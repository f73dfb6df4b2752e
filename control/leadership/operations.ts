/**
 * Operations on moves that the operator API offers. Only the leader performs them; other controls
 * reject with NOT_LEADER, and the message names the leader.
 */

import type { Intent } from '../../common/cluster/assignment.js';
import type { Rejection } from '../../common/process/errors.js';
import type { Position } from '../../common/wire/position.js';
import type { DrainProgress } from '../pace/drain-progress.js';
import type { Pace } from '../pace/pace.js';
import type { PlanSummary } from '../planning/plan-summary.js';
import type { Change } from './changes.js';

/** Origin of an operator's request, for the event log. */
export interface Audit {
  /** Name of the token, or `local` where no token is required. */
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
    /** Clients of the shard on `from`. Undefined: the edge does not report. */
    readonly clientsRemaining: number | undefined;
  }[];
  /** Planned moves that have not started. */
  readonly pending: number;
  readonly isPaused: boolean;
  /** Milliseconds until the latest end of the freeze. Undefined: membership is not frozen. */
  readonly frozenRemainingMs: number | undefined;
  /** GOAWAYs per second, cluster-wide. */
  readonly perSecond: number;
  readonly paceReason: Pace['reason'];
  /** Undefined while no GOAWAYs are sent. */
  readonly secondsRemaining: number | undefined;
  readonly drains: readonly DrainProgress[];
}

/** A plan for the assignment `on`. */
export interface PlanInfo extends PlanSummary {
  readonly on: Position;
}

export interface DrainOptions {
  /** Maximum GOAWAYs per second of this edge. Undefined: the cluster's pace. */
  readonly perSecondMax: number | undefined;
  /** Time until the edge disconnects the remaining clients. Undefined: never. */
  readonly deadlineMs: number | undefined;
}

export interface IntentOptions extends DrainOptions {
  /** Also for the last edge that can get shards. */
  readonly isForced: boolean;
}

export type LogEntry =
  /** Most edges have vanished at once; nothing is decided meanwhile. */
  | { readonly type: 'frozen' }
  | { readonly type: 'unfrozen' }
  /**
   * The edge has a session but reports that it receives no pushes: its shards move until it does.
   */
  | { readonly type: 'edge-partitioned'; readonly edgeId: string }
  | { readonly type: 'edge-recovered'; readonly edgeId: string }
  /** The stored assignment is invalid; the last valid one stays in force. */
  | { readonly type: 'assignment-invalid'; readonly reason: string }
  /** A process was rejected under this edge id. */
  | { readonly type: 'edge-rejected'; readonly edgeId: string; readonly reason: string }
  /** Connections of a client end again and again. */
  | {
      readonly type: 'client-reconnecting';
      readonly edgeId: string;
      readonly clientId: string;
      /** Connections that ended in the last minute. */
      readonly ends: number;
      /** Why the latest ended, newest first. */
      readonly reason: string;
    }
  /** A durable push was removed from its inbox because the device cannot receive it. */
  | {
      readonly type: 'push-skipped';
      readonly edgeId: string;
      readonly clientId: string;
      readonly messageId: string;
      readonly reason: string;
    }
  /** A disconnect of many clients has ended; `reason` is its state. */
  | {
      readonly type: 'clients-disconnected';
      readonly clients: number;
      readonly reason: string;
    }
  /** A report of the edge is implausible: it is alive, but its load is unknown. */
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
    | 'confirm-lost-edges'
    | ClientAction;
  /** Empty for actions on the whole cluster, or on a client. */
  readonly edgeId: string;
  /** A client or a user. */
  readonly clientId?: string;
  /** The request, such as a filter. */
  readonly detail?: string;
}

/** Actions on clients; `clientId` of the entry is a client, a user, or empty for many clients. */
export type ClientAction =
  | 'block'
  | 'unblock'
  | 'revoke'
  | 'unrevoke'
  | 'disconnect'
  | 'cancel-disconnect'
  | 'push'
  | 'read-payload';

/** One entry of the event log. */
export interface LoggedEvent {
  /** Grows from event to event, also when another control leads. */
  readonly id: number;
  /** Unix time in milliseconds. */
  readonly atMs: number;
  /** Position of the assignment at that time. */
  readonly position: Position;
  readonly entry: LogEntry;
}

export interface Operations {
  moves(): MovesInfo;
  /** The plan that `rebalance` would carry out now. */
  plan(): PlanInfo | Rejection;
  /** @param on the assignment of the plan that the operator has seen; undefined: the current one */
  rebalance(on: Position | undefined, by: Audit): PlanInfo | Rejection;
  pause(by: Audit): Rejection | undefined;
  resume(by: Audit): Rejection | undefined;
  abort(by: Audit): Rejection | undefined;
  /** `none` cancels a drain or a cordon. */
  setIntent(
    edgeId: string,
    intent: Intent,
    options: IntentOptions,
    by: Audit,
  ): Rejection | undefined;
  /** Ends a freeze: the edges that have vanished are lost. */
  confirmLostEdges(by: Audit): Rejection | undefined;
  /** Why this control may not act for operators; undefined: it leads. */
  rejectAsFollower(): Rejection | undefined;
  /** Appends an action on clients to the event log. */
  recordAction(action: ClientAction, clientId: string, by: Audit, detail?: string): void;
  /** Appends the end of a disconnect by a filter to the event log. */
  recordDisconnected(clients: number, state: string): void;
  /** The events with an id above `after`, oldest first; the last ones of each kind are kept. */
  eventsAfter(after: number): readonly LoggedEvent[];
  /** Calls `onEvent` for every later event. Returns the function that ends it. */
  watchEvents(onEvent: (event: LoggedEvent) => void): () => void;
}
