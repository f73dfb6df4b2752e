/** Drives `Membership`: gives it the time, and ends the sessions that it ends. */
import type { EdgeIdentity, Position } from '../../common/cluster/assignment.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { LoadReport } from '../placement/loads.js';
import type { MoveReport } from '../planning/moves.js';
import {
  type EdgeCounts,
  type EdgeRecord,
  type HelloEdge,
  Membership,
  type MembershipAction,
  type MembershipEvent,
} from './membership.js';

/** What one report of an edge says. */
export interface EdgeReport {
  /** Undefined when they are not to be believed. */
  readonly counts: EdgeCounts | undefined;
  readonly loads: LoadReport | undefined;
  readonly moves: MoveReport;
  readonly isLeaving: boolean;
}

/** One open session of one edge that was let in. */
export interface Session {
  report(report: EdgeReport): void;
  /** The stream is gone. */
  broke(): void;
}

export interface MembersListener {
  /** After each step, before what it leads to. */
  onStep(membership: Membership): void;
  onReplan(): void;
  onDrain(edgeId: string): void;
  /** Of an edge whose session is its newest. */
  onReport(report: EdgeReport): void;
}

export class Members {
  readonly #machine: Membership;
  /** How to end each open session. */
  readonly #ends = new Map<number, (why: Rejection) => void>();
  #lastSession = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    leaseMs: number,
    readonly listener: MembersListener,
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

  /** To be called once, before any plan: the edges that had shards before this control led. */
  restore(edges: readonly EdgeIdentity[]): void {
    this.#step({ type: 'restored', edges });
  }

  /** @param end called when the session must end although its stream is fine */
  open(edge: HelloEdge, have: Position, end: (why: Rejection) => void): Session | Rejection {
    const session = ++this.#lastSession;
    let rejected: Rejection | undefined;
    this.#ends.set(session, (why) => {
      rejected = why;
    });
    this.#step({ type: 'hello', session, edge, have });
    if (rejected !== undefined) return rejected;
    this.#ends.set(session, end);
    return {
      report: (report) => this.#onReport(edge.id, session, report),
      broke: () => {
        // Of a control that has stopped to lead, nobody is a member any more.
        if (!this.#ends.delete(session)) return;
        this.#step({ type: 'broken', edgeId: edge.id, session });
      },
    };
  }

  /** The edges that have vanished are gone. */
  confirmLostEdges(): void {
    this.#step({ type: 'confirm-lost-edges' });
  }

  /** Ends all sessions. */
  close(why: Rejection): void {
    clearTimeout(this.#timer);
    const ends = [...this.#ends.values()];
    this.#ends.clear();
    for (const end of ends) end(why);
  }

  #onReport(edgeId: string, session: number, report: EdgeReport): void {
    if (!this.#ends.has(session)) return;
    this.#step({ type: 'report', edgeId, session, counts: report.counts });
    const state = this.#machine.edges.find(({ id }) => id === edgeId)?.state;
    if (state?.type !== 'alive' || state.session !== session) return;
    this.listener.onReport(report);
    if (report.isLeaving) this.#step({ type: 'leaving', edgeId, session });
  }

  #step(event: MembershipEvent | null): void {
    const { actions, wakeAtMs } = this.#machine.step(nowMs(), event);
    this.#wakeAt(wakeAtMs);
    this.listener.onStep(this.#machine);
    for (const action of actions) this.#do(action);
  }

  #do(action: MembershipAction): void {
    if (action.type === 'replan') {
      this.listener.onReplan();
    } else if (action.type === 'drain') {
      this.listener.onDrain(action.edgeId);
    } else {
      this.#ends.get(action.session)?.(action.why);
      this.#ends.delete(action.session);
    }
  }

  #wakeAt(wakeAtMs: number): void {
    clearTimeout(this.#timer);
    if (wakeAtMs === Number.POSITIVE_INFINITY) return;
    // Through setImmediate, so that reports which have come while this process was busy or stopped
    // are read before the leases are judged.
    this.#timer = setTimeout(
      () => setImmediate(() => this.#step(null)),
      Math.max(1, Math.ceil(wakeAtMs - nowMs())),
    ).unref();
  }
}

/** For sessions that end because this control does not lead any more. */
export function notLeader(leader: string): Rejection {
  return rejection(
    'NOT_LEADER',
    leader === '' ? 'no control leads at the moment' : `${leader} leads`,
  );
}

/** Unix time that never jumps: leases must not run out because someone has set the clock. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
