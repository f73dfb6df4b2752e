/**
 * Pushes of each connection that were written and not confirmed, and those that were dropped: two
 * bytes each by slot. An array exists only once a connection needs it.
 */
import { ensureSlot } from '../../../common/transport/slot-arrays.js';
import { type Connection, slotOf } from '../../../common/transport/transport.js';

/** Largest count; it stands for any larger one, too. */
const COUNT_MAX = 65_535;

export class PushCounts {
  /** By slot: durable pushes written since the device last confirmed one. */
  #unconfirmed = new Uint16Array(0);
  /** By slot: live-only pushes dropped because bytes were waiting. */
  #dropped = new Uint16Array(0);

  get bytes(): number {
    return this.#unconfirmed.byteLength + this.#dropped.byteLength;
  }

  onWritten(connection: Connection): void {
    this.#unconfirmed = increment(this.#unconfirmed, slotOf(connection));
  }

  /**
   * The device has confirmed a push: only those that are written later are certainly unconfirmed.
   */
  onConfirmed(connection: Connection): void {
    const slot = slotOf(connection);
    if (slot < this.#unconfirmed.length) this.#unconfirmed[slot] = 0;
  }

  onDropped(connection: Connection): void {
    this.#dropped = increment(this.#dropped, slotOf(connection));
  }

  /** To be called for every connection that has ended: its slot is reused. */
  forget(connection: Connection): void {
    this.onConfirmed(connection);
    const slot = slotOf(connection);
    if (slot < this.#dropped.length) this.#dropped[slot] = 0;
  }

  unconfirmed(connection: Connection): number {
    return this.#unconfirmed[slotOf(connection)] ?? 0;
  }

  dropped(connection: Connection): number {
    return this.#dropped[slotOf(connection)] ?? 0;
  }
}

function increment<Counts extends Uint16Array>(counts: Counts, slot: number): Counts {
  const grown = ensureSlot(counts, slot);
  if (grown[slot]! < COUNT_MAX) grown[slot]!++;
  return grown;
}
