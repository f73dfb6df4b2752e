/**
 * Freeze: when most edges vanish at once, control suspects its own network first. Edges rarely die
 * together, but one cable can separate all of them from one control while they continue to serve.
 * Acting on that would move every client of the cluster to the few edges that are left.
 *
 * While membership is frozen nothing is decided. A freeze ends
 * - when at least half of the edges are back; the others then get one more lease,
 * - when an operator confirms that the edges are lost,
 * - or after `LEASES_MAX` leases, when they count as lost without confirmation.
 */

/** Longest plausible network failure on control's side. */
const LEASES_MAX = 3;

export interface Presence {
  /** Since when the edge has been missing; undefined: it is present. */
  readonly vanishedAtMs: number | undefined;
}

export class Freeze {
  #endsAtMs: number | undefined;
  /** Edges that vanished until then are known to be lost. */
  #lostConfirmedAtMs = Number.NEGATIVE_INFINITY;
  #graceEndsAtMs = Number.NEGATIVE_INFINITY;

  constructor(readonly leaseMs: number) {}

  /** Latest end of the freeze; undefined: membership is not frozen. */
  get endsAtMs(): number | undefined {
    return this.#endsAtMs;
  }

  /** No lease ends before this moment, because a freeze has ended with edges coming back. */
  get graceEndsAtMs(): number {
    return this.#graceEndsAtMs;
  }

  /** @param members all edges that are not dead */
  update(nowMs: number, members: readonly Presence[]): void {
    const isMost = (count: number) => count >= 2 && count > members.length / 2;
    const missing: number[] = [];
    for (const { vanishedAtMs } of members) {
      if (vanishedAtMs !== undefined) missing.push(vanishedAtMs);
    }
    if (this.#endsAtMs === undefined) {
      const sinceMs = Math.max(nowMs - this.leaseMs / 2, this.#lostConfirmedAtMs);
      const atOnce = missing.filter((vanishedAtMs) => vanishedAtMs > sinceMs);
      if (isMost(atOnce.length)) this.#endsAtMs = nowMs + LEASES_MAX * this.leaseMs;
    } else if (nowMs >= this.#endsAtMs) {
      this.confirmLostEdges(nowMs);
    } else if (!isMost(missing.length)) {
      this.#endsAtMs = undefined;
      // The other edges are probably reconnecting, too.
      this.#graceEndsAtMs = nowMs + this.leaseMs;
    }
  }

  /** Ends the freeze: the edges that are missing now are lost. */
  confirmLostEdges(nowMs: number): void {
    this.#endsAtMs = undefined;
    this.#lostConfirmedAtMs = nowMs;
    this.#graceEndsAtMs = Number.NEGATIVE_INFINITY;
  }
}
