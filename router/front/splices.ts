/**
 * The devices that a front has passed on: which connection belongs to which, and to what edge. Arrays
 * by slot, 10 bytes for each connection and two connections for each device; no object, as there may
 * be a hundred thousand.
 */
import { ensureSlot, FIRST_SLOTS } from '../../common/transport/slot-arrays.js';
import { type Connection, slotOf } from '../../common/transport/transport.js';

export interface FrontPipe {
  readonly device: Connection;
  readonly upstream: Connection;
  readonly edge: number;
}

export class FrontPipes {
  /** By slot: the other connection of the pipe; 0: the slot has none. */
  #others = new Float64Array(FIRST_SLOTS);
  /**
   * By slot of a device: its edge plus one; 0: the slot is not of a device. The meaning of an edge's
   * number is the caller's.
   */
  #edges = new Uint16Array(FIRST_SLOTS);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#others.byteLength + this.#edges.byteLength;
  }

  /** @param edge below 65535 */
  add(device: Connection, upstream: Connection, edge: number): void {
    const slot = Math.max(slotOf(device), slotOf(upstream));
    this.#others = ensureSlot(this.#others, slot);
    this.#edges = ensureSlot(this.#edges, slot);
    this.#others[slotOf(device)] = upstream;
    this.#others[slotOf(upstream)] = device;
    this.#edges[slotOf(device)] = edge + 1;
    this.#count++;
  }

  /** The pipe that a connection is one end of. */
  find(connection: Connection): FrontPipe | undefined {
    const other = this.#others[slotOf(connection)] ?? 0;
    if (other === 0 || this.#others[slotOf(other)] !== connection) return undefined;
    const isDevice = this.#edges[slotOf(connection)] !== 0;
    const [device, upstream] = isDevice ? [connection, other] : [other, connection];
    return { device, upstream, edge: this.#edges[slotOf(device)]! - 1 };
  }

  remove({ device, upstream }: FrontPipe): void {
    this.#others[slotOf(device)] = this.#others[slotOf(upstream)] = 0;
    this.#edges[slotOf(device)] = 0;
    this.#count--;
  }

  /** @param edge undefined: of all */
  devicesOf(edge: number | undefined): Connection[] {
    const devices: Connection[] = [];
    for (let slot = 0; slot < this.#edges.length; slot++) {
      const its = this.#edges[slot]! - 1;
      if (its < 0 || (edge !== undefined && its !== edge)) continue;
      devices.push(this.#others[slotOf(this.#others[slot]!)]!);
    }
    return devices;
  }
}
