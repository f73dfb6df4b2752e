/**
 * A counter per connection for the current second, by slot. A Map that is filled and cleared every
 * second would be promoted to the old generation each time, and leave megabytes of garbage there.
 */
import { ensureSlot, FIRST_SLOTS } from '../../common/transport/slot-arrays.js';
import { type Connection, slotOf } from '../../common/transport/transport.js';

export class SecondCounts {
  #counts = new Uint32Array(FIRST_SLOTS);

  get(connection: Connection): number {
    return this.#counts[slotOf(connection)] ?? 0;
  }

  set(connection: Connection, count: number): void {
    const slot = slotOf(connection);
    this.#counts = ensureSlot(this.#counts, slot);
    this.#counts[slot] = count;
  }

  /** To be called for every connection that has closed: its slot is reused. */
  forget(connection: Connection): void {
    const slot = slotOf(connection);
    if (slot < this.#counts.length) this.#counts[slot] = 0;
  }

  /** Resets all counters. To be called once a second. */
  clear(): void {
    this.#counts.fill(0);
  }
}
