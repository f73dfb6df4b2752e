/** Whom a front lets go when not all at once: each batch evenly over a time of its own. Pure. */
import type { Connection } from '../../common/transport/transport.js';

interface Batch {
  readonly devices: readonly Connection[];
  readonly sinceMs: number;
  readonly overMs: number;
  taken: number;
}

export class LetGo {
  #batches: Batch[] = [];

  /** @param overMs 0: all at once */
  add(nowMs: number, devices: readonly Connection[], overMs: number): void {
    if (devices.length > 0) this.#batches.push({ devices, sinceMs: nowMs, overMs, taken: 0 });
  }

  /** Those whose time has come. Some of them may be gone. */
  take(nowMs: number): Connection[] {
    const due = this.#batches.flatMap((batch) => {
      const { devices, sinceMs, overMs, taken } = batch;
      const share = overMs === 0 ? 1 : Math.min(1, (nowMs - sinceMs) / overMs);
      batch.taken = Math.floor(devices.length * share);
      return devices.slice(taken, batch.taken);
    });
    this.#batches = this.#batches.filter(({ devices, taken }) => taken < devices.length);
    return due;
  }
}
