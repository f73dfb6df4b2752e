/** Networks in CIDR notation, and whether an address is in one of them. */
import { BlockList, isIP } from 'node:net';
import { type Endpoint, ipText, isMapped } from './ip-address.js';

const NETWORK = /^([0-9a-f.:]+)(?:\/(\d{1,3}))?$/i;

export class Networks {
  // Made for rejecting, it is a set of networks all the same.
  readonly #list = new BlockList();
  readonly #isEmpty: boolean;

  /** @param networks each passes `isNetwork` */
  constructor(networks: readonly string[]) {
    this.#isEmpty = networks.length === 0;
    for (const network of networks) {
      const [, address, prefix] = NETWORK.exec(network)!;
      const family = isIP(address!) === 6 ? 'ipv6' : 'ipv4';
      const bits = prefix === undefined ? (family === 'ipv6' ? 128 : 32) : Number(prefix);
      this.#list.addSubnet(address!, bits, family);
    }
  }

  /** An IPv4 address is the same however it is written (::ffff:192.0.2.1). */
  includes({ ip }: Endpoint): boolean {
    if (this.#isEmpty) return false;
    return this.#list.check(ipText(ip), isMapped(ip) ? 'ipv4' : 'ipv6');
  }
}

/** `192.0.2.0/24`, `2001:db8::/32`, or a single address. */
export function isNetwork(text: string): boolean {
  const match = NETWORK.exec(text);
  const family = match === null ? 0 : isIP(match[1]!);
  return family !== 0 && Number(match![2] ?? 0) <= (family === 4 ? 32 : 128);
}
