/**
 * Source addresses of devices: as stated by the PROXY header for connections from a proxy, and as
 * reported by the socket for all others.
 *
 * 19 bytes per slot, from the first header on; without proxies none. A Map would take 150 bytes per
 * device, and behind a front proxy every device has a header.
 */
import { type Endpoint, endpointText } from '../../common/net/ip-address.js';
import { ensureSlot } from '../../common/transport/slot-arrays.js';
import { type Connection, slotOf, type Transport } from '../../common/transport/transport.js';

const IP_BYTES = 16;
/** Bits of `#flags`. */
const HAS_ADDRESS = 1;
const IS_FRONTED = 2;

export class PeerAddresses {
  /** By slot, `IP_BYTES` each. */
  #ips = new Uint8Array();
  #ports = new Uint16Array();
  #flags = new Uint8Array();

  constructor(readonly transport: Pick<Transport, 'remoteAddress'>) {}

  /**
   * @param source undefined: the PROXY header states no address
   * @param isFronted the proxy is a front proxy: the device knows no other address
   */
  set(connection: Connection, source: Endpoint | undefined, isFronted: boolean): void {
    const slot = slotOf(connection);
    this.#ips = ensureSlot(this.#ips, (slot + 1) * IP_BYTES - 1);
    this.#ports = ensureSlot(this.#ports, slot);
    this.#flags = ensureSlot(this.#flags, slot);
    source?.ip.copy(this.#ips, slot * IP_BYTES);
    this.#ports[slot] = source?.port ?? 0;
    this.#flags[slot] = (source === undefined ? 0 : HAS_ADDRESS) | (isFronted ? IS_FRONTED : 0);
  }

  /** To be called for every connection that has closed: its slot is reused. */
  forget(connection: Connection): void {
    const slot = slotOf(connection);
    if (slot < this.#flags.length) this.#flags[slot] = 0;
  }

  isFronted(connection: Connection): boolean {
    return this.#has(connection, IS_FRONTED);
  }

  /** `address:port`; undefined for a connection that has closed. */
  addressOf(connection: Connection): string | undefined {
    if (!this.#has(connection, HAS_ADDRESS)) return this.transport.remoteAddress(connection);
    const slot = slotOf(connection);
    const ip = Buffer.from(this.#ips.buffer, slot * IP_BYTES, IP_BYTES);
    return endpointText({ ip, port: this.#ports[slot]! });
  }

  get bytes(): number {
    return this.#ips.byteLength + this.#ports.byteLength + this.#flags.byteLength;
  }

  #has(connection: Connection, flag: number): boolean {
    return ((this.#flags[slotOf(connection)] ?? 0) & flag) !== 0;
  }
}
