/**
 * How long edges that join wait for others. Pure.
 *
 * Initial delay: edges that start together get their first assignment together, because an edge
 * that joins later gets its share by moves, which take a minute. Every hello extends the delay, up
 * to a maximum.
 *
 * Later delay: edges that join within a second of a replan share the next one. With 1,000 edges,
 * each replan keeps control busy for a while, and every edge receives the new assignment.
 */

const DELAY_MS = 2_000;
const DELAY_MS_MAX = 8_000;
const LATER_MS = 1_000;

export class JoinDelay {
  /** Infinity until the first hello. */
  #endsAtMs = Number.POSITIVE_INFINITY;
  #firstHelloAtMs: number | undefined;
  #laterEndsAtMs = Number.NEGATIVE_INFINITY;

  /** End of the initial delay. */
  get endsAtMs(): number {
    return this.#endsAtMs;
  }

  get laterEndsAtMs(): number {
    return this.#laterEndsAtMs;
  }

  onHello(nowMs: number): void {
    this.#firstHelloAtMs ??= nowMs;
    if (nowMs >= this.#endsAtMs) return;
    this.#endsAtMs = Math.min(nowMs + DELAY_MS, this.#firstHelloAtMs + DELAY_MS_MAX);
  }

  onReplan(nowMs: number): void {
    this.#laterEndsAtMs = nowMs + LATER_MS;
  }
}
