/**
 * History of a drill as observed from outside: every push with every answer to it, every connection
 * with everything received on it, and every fault. The check has no other input.
 *
 * All times are milliseconds of one monotonic clock: backend and devices run in one process, so
 * that they agree on the order of events.
 */

/**
 * Outcome of one attempt to push. The verdicts of the Push API, and: `REJECTED` an error that
 * guarantees that nothing was stored or written · `UNANSWERED` the stream ended before the answer.
 */
export type PushOutcome =
  | 'ACKED'
  | 'WRITTEN'
  | 'STORED'
  | 'OFFLINE'
  | 'SLOW'
  | 'DUPLICATE'
  | 'UNKNOWN'
  | 'REJECTED'
  | 'UNANSWERED';

/** Accept levels, weakest first. */
export type PushLevel = 'accepted' | 'fsynced' | 'replicated';

export interface Attempt {
  readonly router: string;
  readonly sentAtMs: number;
  /** Infinity while there is no answer. */
  endedAtMs: number;
  outcome: PushOutcome | undefined;
  /** Message id in the answer; '' for none. */
  messageId: string;
  /** Id of the push that it replaced, by the answer; '' for none. */
  replacedId: string;
  /** Code and message of a rejection. */
  detail: string;
}

export interface Push {
  /** Unique in the run, but that a push to several clients is one for each; part of the payload. */
  readonly number: number;
  readonly clientId: string;
  readonly isDurable: boolean;
  /** Requested accept level; undefined for a live-only push. */
  readonly level: PushLevel | undefined;
  /** CRC-32 of the payload. */
  readonly digest: number;
  /** Pushes of a client with the same key replace each other; '' for none. */
  readonly collapseKey: string;
  /** Growing message of which it is a part; '' for none. Each part is sent after the one before. */
  readonly appendTo: string;
  /** In order, all with the same idempotency key. A live-only push has one attempt. */
  readonly attempts: Attempt[];
}

export interface Receipt {
  readonly atMs: number;
  /** Id of the event; '' for none. */
  readonly messageId: string;
  /** Number in the payload; undefined when the payload cannot be parsed. */
  readonly pushNumber: number | undefined;
  readonly digest: number;
  /** Undefined for what is no part of a growing message. */
  readonly part?: ReceivedPart | undefined;
}

export interface ReceivedPart {
  readonly to: string;
  /** Bytes of the message before this part. */
  readonly offset: number;
  readonly bytes: number;
  /** Whether it came together with later parts, whose id it has. */
  readonly isJoined: boolean;
}

/** From the answer to a device's connect request until the device notices the end. */
export interface Connection {
  readonly clientId: string;
  /** `host:port` of the edge. */
  readonly edge: string;
  /** Newest message id that the device sent in its request; '' for none. */
  readonly cursor: string;
  readonly requestedAtMs: number;
  readonly openedAtMs: number;
  /** Infinity while it is open. */
  closedAtMs: number;
  closeReason: string;
  readonly receipts: Receipt[];
  /** Times of `reset` events: the edge cannot deliver everything after the cursor. */
  readonly resetsAtMs: number[];
}

/** A period in which a device was disconnected or did not read, by a fault of the schedule. */
export interface Absence {
  readonly clientId: string;
  readonly fromMs: number;
  toMs: number;
}

/**
 * A connect request that the device gave up or that was rejected. An edge may have answered it, and
 * pushed, just before the device gave up.
 */
export interface UnansweredRequest {
  readonly clientId: string;
  /** As in a connection. */
  readonly cursor: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** A period in which a part of the cluster was faulty. */
export interface Disturbance {
  readonly kind: string;
  readonly target: string;
  readonly fromMs: number;
  /** When the target reported that it is ready again; Infinity before. */
  toMs: number;
  /** Set by a fault after which Redis may not have all that it had accepted. */
  loss?: Loss;
  /**
   * Set when an edge may be gone for the cluster for longer than its lease, and keep its devices.
   */
  isolates?: true;
  /** Set when a role had too little memory: how often it shed load, and whether it was killed. */
  squeeze?: { readonly shed: number; readonly isKilled: boolean };
}

/** Pushes that a fault may destroy although they were accepted: their level does not survive it. */
export interface Loss {
  readonly levels: readonly PushLevel[];
  /** The pushes were accepted in this period; -Infinity: since the start. */
  readonly fromMs: number;
  /** Infinity while the fault is in progress. */
  toMs: number;
  /** Only pushes of these clients; undefined for all. */
  clientIds?: readonly string[];
  /**
   * Ids that Redis certainly does not know any more, by their Unix time: a device that names one in
   * a connection that is opened after `sinceMs` must receive a `reset`.
   */
  unknownIds?: { readonly fromUnixMs: number; readonly toUnixMs: number; readonly sinceMs: number };
}

/** A fault of some devices: the cluster is not faulty meanwhile. */
export interface DeviceFaultRecord {
  readonly kind: string;
  readonly clientIds: readonly string[];
  readonly fromMs: number;
  /** When the devices may reconnect and read again; Infinity before. */
  toMs: number;
}

/** One stream of events, or of presence. All consumers of a drill are members of one group. */
export interface EventWatch {
  readonly openedAtMs: number;
  /** Infinity while it is open. */
  endedAtMs: number;
}

/** An event each time that a consumer received it. */
export interface ReceivedEvent {
  readonly watch: EventWatch;
  readonly atMs: number;
  readonly id: string;
  readonly type: string;
  readonly clientId: string;
  /** In events of pushes; '' in others. */
  readonly messageId: string;
  /** In events of clients: `host:port` of the edge; '' in others. */
  readonly edge: string;
  /** In `client.moved`: the edge before; '' in others. */
  readonly fromEdge: string;
  readonly reason: string;
  /** In `events_lost`: their number. */
  readonly lost: number;
  /** When the consumer acknowledged it; Infinity: never. */
  ackedAtMs: number;
}

/** A message of one WatchPresence about a client. */
export interface PresenceReport {
  readonly watch: EventWatch;
  readonly atMs: number;
  /** `state`, or the type of an event. */
  readonly type: string;
  readonly clientId: string;
  /** `host:port` of the edge; '' in a state: the client is not connected. */
  readonly edge: string;
  /** In `client.moved`: the edge before; '' in others. */
  readonly fromEdge: string;
}

/** The ledger of control, when everything had come to an end; by its API. */
export interface LedgerRecord {
  readonly accepted: number;
  readonly waiting: number;
  readonly confirmed: number;
  /** Expired, evicted, collapsed or skipped. */
  readonly dropped: number;
  readonly lost: number;
  readonly before: number;
  /** `<kind>: <pushes> of shard <shard>`. */
  readonly differences: readonly string[];
}

export interface History {
  readonly pushes: readonly Push[];
  readonly connections: readonly Connection[];
  readonly unansweredRequests: readonly UnansweredRequest[];
  readonly absences: readonly Absence[];
  readonly disturbances: readonly Disturbance[];
  readonly deviceFaults: readonly DeviceFaultRecord[];
  /** None while events are off. */
  readonly watches: readonly EventWatch[];
  readonly events: readonly ReceivedEvent[];
  readonly presence: readonly PresenceReport[];
  /** Undefined if it was not read. */
  readonly ledger?: LedgerRecord | undefined;
}

/** A history that is still being recorded. */
export interface HistoryInProgress {
  readonly pushes: Push[];
  readonly connections: Connection[];
  readonly unansweredRequests: UnansweredRequest[];
  readonly absences: Absence[];
  readonly disturbances: Disturbance[];
  readonly deviceFaults: DeviceFaultRecord[];
  readonly watches: EventWatch[];
  readonly events: ReceivedEvent[];
  readonly presence: PresenceReport[];
  ledger?: LedgerRecord | undefined;
}

export function newHistory(): HistoryInProgress {
  return {
    pushes: [],
    connections: [],
    unansweredRequests: [],
    absences: [],
    disturbances: [],
    deviceFaults: [],
    watches: [],
    events: [],
    presence: [],
  };
}
