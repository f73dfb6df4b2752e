/**
 * Checks the rule of mass failures from the outside: when most edges of a control have vanished
 * within half a lease, it declares none of them dead because its port is closed.
 */
import type { EdgeRecord } from '../../control/membership/edge-record.js';
import type { Membership, MembershipEvent } from '../../control/membership/membership.js';

export class VanishedEdges {
  /** By id: when the session of an edge broke that has not returned since. */
  readonly #sinceMs = new Map<string, number>();
  #dead: ReadonlySet<string> = new Set();
  /** Edges that had vanished by then are known to be lost. */
  #confirmedAtMs = Number.NEGATIVE_INFINITY;
  #frozenAtMs = Number.NEGATIVE_INFINITY;

  constructor(readonly leaseMs: number) {}

  /** @param membership before the step */
  onEvent(nowMs: number, event: MembershipEvent | null, membership: Membership): void {
    const { edges, frozenUntilMs } = membership;
    if (frozenUntilMs !== undefined) {
      // After a stall, this step may end a freeze that was in force until now.
      this.#frozenAtMs = nowMs;
      if (event?.type === 'confirm-lost-edges') this.#confirmedAtMs = nowMs;
    }
    if (event?.type === 'hello') this.#sinceMs.delete(event.edge.id);
    if (event?.type !== 'disconnected') return;
    const state = edges.find(({ id }) => id === event.edgeId)?.state;
    if (state?.type !== 'alive' || state.session !== event.session) return;
    // After a stall: it was silent for a lease, and is dead for that.
    if (state.leaseEndsAtMs <= nowMs) return;
    this.#sinceMs.set(event.edgeId, nowMs);
  }

  /** @param membership after the step */
  findViolation(nowMs: number, { edges, frozenUntilMs }: Membership): string | undefined {
    const before = this.#dead;
    this.#dead = new Set(edges.filter(isDead).map(({ id }) => id));
    if (frozenUntilMs !== undefined) this.#frozenAtMs = nowMs;
    // A freeze that has just ended was there, and what vanished before its end counts as lost.
    if (nowMs < this.#frozenAtMs + this.leaseMs) return undefined;
    const died = edges.find(({ id, state }) => {
      return state.type === 'dead' && state.portClosed !== undefined && !before.has(id);
    });
    if (died === undefined) return undefined;
    const members = edges.filter((edge) => !isDead(edge) || this.#isMissing(nowMs, edge));
    const vanished = members.filter(({ id }) => {
      const sinceMs = this.#sinceMs.get(id) ?? Number.NEGATIVE_INFINITY;
      return sinceMs > Math.max(nowMs - this.leaseMs / 2, this.#confirmedAtMs);
    }).length;
    if (vanished < 2 || vanished <= members.length / 2) return undefined;
    return `${died.id} is declared dead while ${vanished} of ${members.length} edges vanished`;
  }

  /** Whether it has vanished within a lease. */
  #isMissing(nowMs: number, { id }: EdgeRecord): boolean {
    return (this.#sinceMs.get(id) ?? Number.NEGATIVE_INFINITY) > nowMs - this.leaseMs;
  }
}

function isDead({ state }: EdgeRecord): boolean {
  return state.type === 'dead';
}
