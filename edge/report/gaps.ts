/**
 * Gaps in the sequence numbers of durable pushes: all as a metric, and for control those of the
 * last 15 minutes. These are counted by minute, which is bounded, however many there are.
 */
import type { Counter } from 'prom-client';
import type { Metrics } from '../../common/process/metrics.js';

/** A gap is reported to control for this many minutes. */
const MINUTES = 15;
const MINUTE_MS = 60_000;

export class Gaps {
  readonly #all: Counter;
  readonly #byMinute = new Uint32Array(MINUTES);
  /** The newest minute that is counted. */
  #minute = 0;

  constructor(metrics: Metrics) {
    this.#all = metrics.counter(
      'longline_edge_gaps_total',
      'Gaps in the sequence numbers of durable pushes of a shard; each causes a re-read of inboxes',
    );
  }

  add(nowMs: number): void {
    this.#forget(nowMs);
    this.#byMinute[this.#minute % MINUTES]!++;
    this.#all.inc();
  }

  countRecent(nowMs: number): number {
    this.#forget(nowMs);
    return this.#byMinute.reduce((sum, gaps) => sum + gaps, 0);
  }

  #forget(nowMs: number): void {
    const minute = Math.floor(nowMs / MINUTE_MS);
    const passed = Math.min(MINUTES, minute - this.#minute);
    for (let i = 0; i < passed; i++) this.#byMinute[(minute - i) % MINUTES] = 0;
    this.#minute = minute;
  }
}
