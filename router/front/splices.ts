/**
 * The connections that a front forwards: pairs of a device and its upstream connection, with the
 * edge. Arrays indexed by slot, 10 bytes per connection and two connections per device, rather than
 * objects, as there may be a hundred thousand.
 */
import { ensureSlot, FIRST_SLOTS } from '../../common/transport/slot-arrays.js';
import { type Connection, slotOf } from '../../common/transport/transport.js';

export interface Splice {
  readonly device: Connection;
  readonly upstream: Connection;
  /** Number of the edge. */
  readonly edge: number;
}

export class Splices {
  /** By slot: the other connection of the pair; 0: none. */
  #others = new Float64Array(FIRST_SLOTS);
  /** By slot of a device: the number of its edge plus one; 0: the slot is not a device's. */
  #edges = new Uint16Array(FIRST_SLOTS);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#others.byteLength + this.#edges.byteLength;
  }

  /** @param edge a number below 65535 that the caller assigns */
  add(device: Connection, upstream: Connection, edge: number): void {
    const slot = Math.max(slotOf(device), slotOf(upstream));
    this.#others = ensureSlot(this.#others, slot);
    this.#edges = ensureSlot(this.#edges, slot);
    this.#others[slotOf(device)] = upstream;
    this.#others[slotOf(upstream)] = device;
    this.#edges[slotOf(device)] = edge + 1;
    this.#count++;
  }

  /** Finds a splice by either of its connections. */
  find(connection: Connection): Splice | undefined {
    const other = this.#others[slotOf(connection)] ?? 0;
    if (other === 0 || this.#others[slotOf(other)] !== connection) return undefined;
    const isDevice = this.#edges[slotOf(connection)] !== 0;
    const [device, upstream] = isDevice ? [connection, other] : [other, connection];
    return { device, upstream, edge: this.#edges[slotOf(device)]! - 1 };
  }

  remove({ device, upstream }: Splice): void {
    this.#others[slotOf(device)] = this.#others[slotOf(upstream)] = 0;
    this.#edges[slotOf(device)] = 0;
    this.#count--;
  }

  /** @param edge undefined: all edges */
  devicesOf(edge: number | undefined): Connection[] {
    const devices: Connection[] = [];
    for (let slot = 0; slot < this.#edges.length; slot++) {
      const deviceEdge = this.#edges[slot]! - 1;
      if (deviceEdge < 0 || (edge !== undefined && deviceEdge !== edge)) continue;
      devices.push(this.#others[slotOf(this.#others[slot]!)]!);
    }
    return devices;
  }
}
