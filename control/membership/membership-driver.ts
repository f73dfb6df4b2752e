/** Drives the `Membership` machine: passes events and time in, and ends sessions on its request. */

import type { EdgeIdentity } from '../../common/cluster/assignment.js';
import type { Rejection } from '../../common/process/errors.js';
import type { Position } from '../../common/wire/position.js';
import type { LoadReport } from '../placement/load-report.js';
import type { MoveReport } from '../planning/moves.js';
import type { EdgeCounts, EdgeRecord, HelloEdge } from './edge-record.js';
import { Membership, type MembershipAction, type MembershipEvent } from './membership.js';

/** One report of an edge. */
export interface EdgeReport {
  /** Undefined when they are implausible. */
  readonly counts: EdgeCounts | undefined;
  readonly loads: LoadReport | undefined;
  readonly moves: MoveReport;
  readonly isShuttingDown: boolean;
}

/** The open session of an edge that was accepted. */
export interface Session {
  report(report: EdgeReport): void;
  /** The stream has ended. */
  disconnected(): void;
}

export interface MembershipListener {
  /** Called after each step that has changed the version of the membership, before its actions. */
  onChange(membership: Membership): void;
  onReplan(): void;
  onDrain(edgeId: string): void;
  /** Resolves with whether the device port of an edge is closed; never rejects. */
  probe(edge: EdgeIdentity): Promise<boolean>;
  /** Called for reports from the newest session of an edge. */
  onReport(report: EdgeReport): void;
}

type ProbeAction = Extract<MembershipAction, { type: 'probe' }>;

export class MembershipDriver {
  readonly #machine: Membership;
  /** By session number: ends the session. */
  readonly #ends = new Map<number, (reason: Rejection) => void>();
  #lastSession = 0;
  #version = 0;
  /** Time for which the timer is set; Infinity: it is not. */
  #wakeAtMs = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(
    leaseMs: number,
    readonly listener: MembershipListener,
  ) {
    this.#machine = new Membership(leaseMs);
  }

  get edges(): readonly EdgeRecord[] {
    return this.#machine.edges;
  }

  get partitionedEdges(): ReadonlySet<string> {
    return this.#machine.partitionedEdges;
  }

  get frozenUntilMs(): number | undefined {
    return this.#machine.frozenUntilMs;
  }

  /** Must be called once: the edges of the assignment that was stored before this term. */
  restore(edges: readonly EdgeIdentity[]): void {
    this.#step({ type: 'restored', edges });
  }

  /** @param end called when the session must end although its stream is open */
  open(edge: HelloEdge, have: Position, end: (reason: Rejection) => void): Session | Rejection {
    const session = ++this.#lastSession;
    let rejected: Rejection | undefined;
    this.#ends.set(session, (reason) => {
      rejected = reason;
    });
    this.#step({ type: 'hello', session, edge, have });
    if (rejected !== undefined) return rejected;
    this.#ends.set(session, end);
    return {
      report: (report) => this.#onReport(edge.id, session, report),
      disconnected: () => {
        // After the term has ended there are no sessions any more.
        if (!this.#ends.delete(session)) return;
        this.#step({ type: 'disconnected', edgeId: edge.id, session });
      },
    };
  }

  /** The edges that have vanished are lost. */
  confirmLostEdges(): void {
    this.#step({ type: 'confirm-lost-edges' });
  }

  /** A router reports that an edge's device port is closed. */
  closedPortReported(edgeId: string, incarnation: string): void {
    this.#step({ type: 'closed-port-reported', edgeId, incarnation });
  }

  /** Ends all sessions. */
  close(reason: Rejection): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const ends = [...this.#ends.values()];
    this.#ends.clear();
    for (const end of ends) end(reason);
  }

  #onReport(edgeId: string, session: number, report: EdgeReport): void {
    if (!this.#ends.has(session)) return;
    this.#step({ type: 'report', edgeId, session, counts: report.counts });
    if (!this.#machine.hasSession(edgeId, session)) return;
    this.listener.onReport(report);
    if (report.isShuttingDown) this.#step({ type: 'shutting-down', edgeId, session });
  }

  #step(event: MembershipEvent | null): void {
    const { actions, wakeAtMs } = this.#machine.step(performance.now(), event);
    this.#wakeAt(wakeAtMs);
    if (this.#machine.version !== this.#version) {
      this.#version = this.#machine.version;
      this.listener.onChange(this.#machine);
    }
    for (const action of actions) this.#perform(action);
  }

  #perform(action: MembershipAction): void {
    if (action.type === 'replan') {
      this.listener.onReplan();
    } else if (action.type === 'drain') {
      this.listener.onDrain(action.edgeId);
    } else if (action.type === 'probe') {
      void this.#probe(action);
    } else {
      this.#ends.get(action.session)?.(action.reason);
      this.#ends.delete(action.session);
    }
  }

  async #probe({ edge, edgeId, probe }: ProbeAction): Promise<void> {
    const isClosed = await this.listener.probe(edge);
    if (!this.#isClosed) this.#step({ type: 'probed', edgeId, probe, isClosed });
  }

  #wakeAt(wakeAtMs: number): void {
    // Most reports leave it as it is.
    if (wakeAtMs === this.#wakeAtMs) return;
    this.#wakeAtMs = wakeAtMs;
    clearTimeout(this.#timer);
    if (wakeAtMs === Number.POSITIVE_INFINITY) return;
    // setImmediate lets reports that arrived while this process was busy or stopped be read before
    // the leases are checked.
    this.#timer = setTimeout(
      () => {
        this.#wakeAtMs = Number.POSITIVE_INFINITY;
        setImmediate(() => this.#step(null));
      },
      Math.max(1, Math.ceil(wakeAtMs - performance.now())),
    ).unref();
  }
}
