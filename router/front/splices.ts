/**
 * The devices that a front has passed on: which connection belongs to which, and to what edge. Arrays
 * by slot, 10 bytes for each connection and two connections for each device; no object, as there may
 * be a hundred thousand.
 */
import { type Connection, slotOf } from '../../common/transport/transport.js';

export interface FrontPipe {
  readonly device: Connection;
  readonly upstream: Connection;
  readonly edge: number;
}

/** No edge: the slot is not of a device. */
const NONE = 0xffff;
const FIRST_SLOTS = 1_024;

export class FrontPipes {
  /** By slot: the other connection of the pipe; 0: the slot has none. */
  #others = new Float64Array(FIRST_SLOTS);
  /** By slot of a device: its edge, as a number whose meaning is the caller's. */
  #edges = new Uint16Array(FIRST_SLOTS).fill(NONE);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#others.byteLength + this.#edges.byteLength;
  }

  /** @param edge below 65535 */
  add(device: Connection, upstream: Connection, edge: number): void {
    this.#growTo(Math.max(slotOf(device), slotOf(upstream)));
    this.#others[slotOf(device)] = upstream;
    this.#others[slotOf(upstream)] = device;
    this.#edges[slotOf(device)] = edge;
    this.#count++;
  }

  /** The pipe that a connection is one end of. */
  find(connection: Connection): FrontPipe | undefined {
    const other = this.#others[slotOf(connection)] ?? 0;
    if (other === 0 || this.#others[slotOf(other)] !== connection) return undefined;
    const isDevice = this.#edges[slotOf(connection)] !== NONE;
    const [device, upstream] = isDevice ? [connection, other] : [other, connection];
    return { device, upstream, edge: this.#edges[slotOf(device)]! };
  }

  remove({ device, upstream }: FrontPipe): void {
    this.#others[slotOf(device)] = this.#others[slotOf(upstream)] = 0;
    this.#edges[slotOf(device)] = NONE;
    this.#count--;
  }

  /** @param edge undefined: of all */
  devicesOf(edge: number | undefined): Connection[] {
    const devices: Connection[] = [];
    for (let slot = 0; slot < this.#edges.length; slot++) {
      const its = this.#edges[slot]!;
      if (its === NONE || (edge !== undefined && its !== edge)) continue;
      devices.push(this.#others[slotOf(this.#others[slot]!)]!);
    }
    return devices;
  }

  #growTo(slot: number): void {
    const { length } = this.#others;
    if (slot < length) return;
    const grown = Math.max(slot + 1, 2 * length);
    const [others, edges] = [this.#others, this.#edges];
    this.#others = new Float64Array(grown);
    this.#others.set(others);
    this.#edges = new Uint16Array(grown).fill(NONE);
    this.#edges.set(edges);
  }
}
