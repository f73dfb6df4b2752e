/**
 * Counts connections per source prefix, so that one source cannot occupy the whole edge. A prefix
 * is an IPv4 address, which may be a whole office behind NAT, or the first 64 bits of an IPv6
 * address, because one device can use any number of addresses below them (RFC 6177). Pure.
 *
 * A connection costs four bytes, a prefix one entry in a map.
 */
import { type Endpoint, ipText, isIpv4Mapped } from '../../common/net/ip-address.js';
import { ensureSlot, FIRST_SLOTS } from '../../common/transport/slot-arrays.js';
import { type Connection, slotOf } from '../../common/transport/transport.js';

export class AddressPrefixes {
  /** By slot: index of the prefix plus one; 0: not counted. */
  #indexes = new Uint32Array(FIRST_SLOTS);
  readonly #indexOf = new Map<string, number>();
  /** By index. */
  readonly #prefixes: string[] = [];
  readonly #counts: number[] = [];
  readonly #unused: number[] = [];

  constructor(readonly connectionsMax: number) {}

  /** Counts a connection. Returns false, and does not, if its prefix is at the limit. */
  add(connection: Connection, endpoint: Endpoint): boolean {
    const prefix = prefixOf(endpoint);
    const known = this.#indexOf.get(prefix);
    if (known !== undefined && this.#counts[known]! >= this.connectionsMax) return false;
    const index = known ?? this.#addPrefix(prefix);
    this.#counts[index]!++;
    const slot = slotOf(connection);
    this.#indexes = ensureSlot(this.#indexes, slot);
    this.#indexes[slot] = index + 1;
    return true;
  }

  /** Does nothing for a connection that was not counted. */
  remove(connection: Connection): void {
    const slot = slotOf(connection);
    const index = (this.#indexes[slot] ?? 0) - 1;
    if (index < 0) return;
    this.#indexes[slot] = 0;
    if (--this.#counts[index]! > 0) return;
    this.#indexOf.delete(this.#prefixes[index]!);
    this.#unused.push(index);
  }

  /** Number of prefixes with connections. */
  get count(): number {
    return this.#indexOf.size;
  }

  #addPrefix(prefix: string): number {
    const index = this.#unused.pop() ?? this.#counts.length;
    this.#indexOf.set(prefix, index);
    this.#prefixes[index] = prefix;
    this.#counts[index] = 0;
    return index;
  }
}

function prefixOf({ ip }: Endpoint): string {
  return isIpv4Mapped(ip) ? ipText(ip) : ip.toString('hex', 0, 8);
}
