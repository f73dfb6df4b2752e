/** Drives `Membership`: gives it the time, ends the sessions that it ends, and asks for plans. */
import type { EdgeIdentity, Position } from '../common/assignment.js';
import type { Refusal } from '../common/errors.js';
import {
  type EdgeCounts,
  type EdgeRecord,
  type HelloEdge,
  Membership,
  type MembershipEvent,
} from './membership.js';

/** One open session of one edge that was let in. */
export interface Session {
  /** @param counts undefined when they are not to be believed */
  report(counts: EdgeCounts | undefined): void;
  /** The stream is gone. */
  broke(): void;
}

export class Members {
  readonly #machine: Membership;
  /** How to end each open session. */
  readonly #ends = new Map<number, (why: Refusal) => void>();
  #lastSession = 0;
  #timer: NodeJS.Timeout | undefined;

  /** @param onReplan called when the members have changed and a new assignment is due */
  constructor(
    leaseMs: number,
    readonly onReplan: () => void,
  ) {
    this.#machine = new Membership(leaseMs);
  }

  get edges(): readonly EdgeRecord[] {
    return this.#machine.edges;
  }

  get newestSeen(): Position {
    return this.#machine.newestSeen;
  }

  /** To be called once, before any plan: the edges that had shards before this control started. */
  restore(edges: readonly EdgeIdentity[]): void {
    this.#step({ type: 'restored', edges });
  }

  /** @param end called when the session must end although its stream is fine */
  open(edge: HelloEdge, have: Position, end: (why: Refusal) => void): Session | Refusal {
    const session = ++this.#lastSession;
    let refused: Refusal | undefined;
    this.#ends.set(session, (why) => {
      refused = why;
    });
    this.#step({ type: 'hello', session, edge, have });
    if (refused !== undefined) return refused;
    this.#ends.set(session, end);
    return {
      report: (counts) => this.#step({ type: 'report', edgeId: edge.id, session, counts }),
      broke: () => {
        this.#ends.delete(session);
        this.#step({ type: 'broken', edgeId: edge.id, session });
      },
    };
  }

  #step(event: MembershipEvent | null): void {
    const { actions, wakeAtMs } = this.#machine.step(nowMs(), event);
    this.#wakeAt(wakeAtMs);
    for (const action of actions) {
      if (action.type === 'replan') {
        this.onReplan();
      } else if (action.type === 'end') {
        this.#ends.get(action.session)?.(action.why);
        this.#ends.delete(action.session);
      }
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

/** Unix time that never jumps: leases must not run out because someone has set the clock. */
function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
