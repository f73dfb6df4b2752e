/**
 * Where devices really come from, of those whom a proxy brought: its PROXY header says so. Everybody
 * else comes from where the socket says.
 *
 * 20 bytes per slot, from the first header on; without proxies nothing. A Map would be 150 bytes for
 * each device, and behind a front all devices are brought.
 */
import { type Endpoint, endpointText } from '../../common/net/ip-address.js';
import { type Connection, slotOf, type Transport } from '../../common/transport/transport.js';

/** The address, the port, and what is known. */
const SLOT_BYTES = 20;
const PORT_AT = 16;
const FLAGS_AT = 18;
const HAS_ADDRESS = 1;
const IS_FRONTED = 2;

export class PeerAddresses {
  /** Set once, before the first connection. */
  transport!: Pick<Transport, 'remoteAddress'>;
  #bytes = Buffer.alloc(0);

  /**
   * @param source undefined: the proxy did not say
   * @param isFronted the proxy is the front of a router: the device knows no other address
   */
  set(connection: Connection, source: Endpoint | undefined, isFronted: boolean): void {
    const at = slotOf(connection) * SLOT_BYTES;
    this.#growTo(at + SLOT_BYTES);
    source?.ip.copy(this.#bytes, at);
    this.#bytes.writeUInt16BE(source?.port ?? 0, at + PORT_AT);
    this.#bytes[at + FLAGS_AT] =
      (source === undefined ? 0 : HAS_ADDRESS) | (isFronted ? IS_FRONTED : 0);
  }

  /** To be called for every connection that is gone: its slot is used again. */
  forget(connection: Connection): void {
    const at = slotOf(connection) * SLOT_BYTES;
    if (at < this.#bytes.length) this.#bytes[at + FLAGS_AT] = 0;
  }

  isFronted(connection: Connection): boolean {
    return (this.#flags(connection) & IS_FRONTED) !== 0;
  }

  /** `address:port`; undefined for a connection that is gone. */
  addressOf(connection: Connection): string | undefined {
    if ((this.#flags(connection) & HAS_ADDRESS) === 0) {
      return this.transport.remoteAddress(connection);
    }
    const at = slotOf(connection) * SLOT_BYTES;
    const ip = this.#bytes.subarray(at, at + PORT_AT);
    return endpointText({ ip, port: this.#bytes.readUInt16BE(at + PORT_AT) });
  }

  get bytes(): number {
    return this.#bytes.length;
  }

  #flags(connection: Connection): number {
    return this.#bytes[slotOf(connection) * SLOT_BYTES + FLAGS_AT] ?? 0;
  }

  #growTo(length: number): void {
    if (length <= this.#bytes.length) return;
    const grown = Buffer.alloc(Math.max(length, 2 * this.#bytes.length, 1_024 * SLOT_BYTES));
    this.#bytes.copy(grown);
    this.#bytes = grown;
  }
}
