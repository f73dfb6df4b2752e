/**
 * How many pushes a second one client may get through this router: whatever goes wrong in a backend,
 * one device is not buried, nor the inbox of a client rewritten all the time. Pure.
 *
 * Counted by windows of a second, because a push pays for it: so around the border of two windows up
 * to twice as many may pass. What is remembered is bounded by the pushes of one second.
 */
import { type Rejection, rejection } from '../../common/process/errors.js';

const WINDOW_MS = 1_000;

export class ClientRates {
  readonly #counts = new Map<string, number>();
  #endsAtMs = 0;

  constructor(readonly perSecondMax: number) {}

  /** Counts a push, or says why it must not be. */
  reject(clientId: string, nowMs: number): Rejection | undefined {
    if (nowMs >= this.#endsAtMs) {
      this.#counts.clear();
      this.#endsAtMs = nowMs + WINDOW_MS;
    }
    const count = (this.#counts.get(clientId) ?? 0) + 1;
    if (count > this.perSecondMax) {
      const why = `a client gets at most ${this.perSecondMax} pushes a second through one router`;
      return rejection('RATE_LIMITED', why);
    }
    this.#counts.set(clientId, count);
    return undefined;
  }
}
