/**
 * Initial delay: edges that start together get their first assignment together, because an edge
 * that joins later gets its share by moves, which take a minute. Every hello extends the delay, up
 * to a maximum.
 */

const DELAY_MS = 2_000;
const DELAY_MS_MAX = 8_000;

export class InitialDelay {
  /** Infinity until the first hello. */
  #endsAtMs = Number.POSITIVE_INFINITY;
  #firstHelloAtMs: number | undefined;

  get endsAtMs(): number {
    return this.#endsAtMs;
  }

  onHello(nowMs: number): void {
    this.#firstHelloAtMs ??= nowMs;
    if (nowMs >= this.#endsAtMs) return;
    this.#endsAtMs = Math.min(nowMs + DELAY_MS, this.#firstHelloAtMs + DELAY_MS_MAX);
  }
}
