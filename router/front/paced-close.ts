/** Closes batches of devices, each batch evenly over its own period. Pure. */
import type { Connection } from '../../common/transport/transport.js';

interface Batch {
  readonly devices: readonly Connection[];
  readonly startedMs: number;
  readonly periodMs: number;
  /** Devices at the start of `devices` that were returned by `take`. */
  taken: number;
}

export class PacedClose {
  #batches: Batch[] = [];

  /** @param periodMs 0: all at once */
  add(nowMs: number, devices: readonly Connection[], periodMs: number): void {
    if (devices.length > 0) this.#batches.push({ devices, startedMs: nowMs, periodMs, taken: 0 });
  }

  /** Returns the devices to close now, each once. Some of them may have disconnected meanwhile. */
  take(nowMs: number): Connection[] {
    const due = this.#batches.flatMap((batch) => {
      const { devices, startedMs, periodMs, taken } = batch;
      const share = periodMs === 0 ? 1 : Math.min(1, (nowMs - startedMs) / periodMs);
      batch.taken = Math.floor(devices.length * share);
      return devices.slice(taken, batch.taken);
    });
    this.#batches = this.#batches.filter(({ devices, taken }) => taken < devices.length);
    return due;
  }
}
