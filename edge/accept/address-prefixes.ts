/**
 * How many connections come from where, so that no single place takes all of them. A place is an
 * IPv4 address, behind which there may be a whole office, or the first 64 bits of an IPv6 address,
 * of which one device has as many as it likes (RFC 6177). Pure.
 *
 * A connection costs four bytes here, a place an entry in a map.
 */
import { type Endpoint, ipText, isMapped } from '../../common/net/ip-address.js';
import { ensureSlot, FIRST_SLOTS } from '../../common/transport/slot-arrays.js';
import { type Connection, slotOf } from '../../common/transport/transport.js';

export class AddressPrefixes {
  /** By slot: which place, plus one; 0: none. */
  #places = new Uint32Array(FIRST_SLOTS);
  readonly #placeOf = new Map<string, number>();
  /** By place. */
  readonly #prefixes: string[] = [];
  readonly #counts: number[] = [];
  readonly #unused: number[] = [];

  constructor(readonly connectionsMax: number) {}

  /** Counts a connection, unless its place has as many as it may. */
  enter(connection: Connection, endpoint: Endpoint): boolean {
    const prefix = prefixOf(endpoint);
    const known = this.#placeOf.get(prefix);
    if (known !== undefined && this.#counts[known]! >= this.connectionsMax) return false;
    const place = known ?? this.#add(prefix);
    this.#counts[place]!++;
    const slot = slotOf(connection);
    this.#places = ensureSlot(this.#places, slot);
    this.#places[slot] = place + 1;
    return true;
  }

  /** For a connection that has ended, and nothing for one that was not counted. */
  leave(connection: Connection): void {
    const slot = slotOf(connection);
    const place = (this.#places[slot] ?? 0) - 1;
    if (place < 0) return;
    this.#places[slot] = 0;
    if (--this.#counts[place]! > 0) return;
    this.#placeOf.delete(this.#prefixes[place]!);
    this.#unused.push(place);
  }

  /** Places that have connections. */
  get count(): number {
    return this.#placeOf.size;
  }

  #add(prefix: string): number {
    const place = this.#unused.pop() ?? this.#counts.length;
    this.#placeOf.set(prefix, place);
    this.#prefixes[place] = prefix;
    this.#counts[place] = 0;
    return place;
  }
}

function prefixOf({ ip }: Endpoint): string {
  return isMapped(ip) ? ipText(ip) : ip.toString('hex', 0, 8);
}
