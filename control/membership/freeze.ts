/**
 * Freeze: when most edges vanish at once, suspect our own link first. Edges do not die together, but
 * one cable takes all of them away from one control, while they go on serving. Acting on that would
 * move every client of the cluster onto the few edges that are left.
 *
 * So for a few leases nothing is decided. It ends when half of the edges are back, when an operator
 * says that they are really gone, or when it has lasted so long that the absence must be believed.
 */

/** How long an absence can be our own fault. */
const LEASES_MAX = 3;

export interface Presence {
  /** Since when it is missed; undefined: it is not. */
  readonly vanishedAtMs: number | undefined;
}

export class Freeze {
  #endsAtMs: number | undefined;
  /** What vanished until then is known to be gone. */
  #believedAtMs = Number.NEGATIVE_INFINITY;
  #patienceEndsAtMs = Number.NEGATIVE_INFINITY;

  constructor(readonly leaseMs: number) {}

  /** When it ends at the latest; undefined: there is none. */
  get endsAtMs(): number | undefined {
    return this.#endsAtMs;
  }

  /** Whoever is missing may be missing until then, because a freeze has ended well. */
  get patienceEndsAtMs(): number {
    return this.#patienceEndsAtMs;
  }

  /** @param members all that are not dead */
  judge(nowMs: number, members: readonly Presence[]): void {
    const isMost = (count: number) => count >= 2 && count > members.length / 2;
    const missing = members.flatMap(({ vanishedAtMs }) => vanishedAtMs ?? []);
    if (this.#endsAtMs === undefined) {
      const sinceMs = Math.max(nowMs - this.leaseMs / 2, this.#believedAtMs);
      const atOnce = missing.filter((vanishedAtMs) => vanishedAtMs > sinceMs);
      if (isMost(atOnce.length)) this.#endsAtMs = nowMs + LEASES_MAX * this.leaseMs;
    } else if (nowMs >= this.#endsAtMs) {
      this.confirmLostEdges(nowMs);
    } else if (!isMost(missing.length)) {
      this.#endsAtMs = undefined;
      // The others are on their way back, too.
      this.#patienceEndsAtMs = nowMs + this.leaseMs;
    }
  }

  /** The edges that are missing now are gone. */
  confirmLostEdges(nowMs: number): void {
    this.#endsAtMs = undefined;
    this.#believedAtMs = nowMs;
    this.#patienceEndsAtMs = Number.NEGATIVE_INFINITY;
  }
}
