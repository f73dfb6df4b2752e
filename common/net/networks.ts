/** A set of networks in CIDR notation. */
import { BlockList, isIP } from 'node:net';
import { type Endpoint, ipText, isIpv4Mapped } from './ip-address.js';

const NETWORK = /^([0-9a-f.:]+)(?:\/(\d{1,3}))?$/i;

export class Networks {
  // Despite its name, a plain set of networks.
  readonly #list = new BlockList();
  readonly #isEmpty: boolean;

  /** @param networks each must pass `isNetwork` */
  constructor(networks: readonly string[]) {
    this.#isEmpty = networks.length === 0;
    for (const network of networks) {
      const [, address, prefix] = NETWORK.exec(network)!;
      const family = isIP(address!) === 6 ? 'ipv6' : 'ipv4';
      const bits = prefix === undefined ? (family === 'ipv6' ? 128 : 32) : Number(prefix);
      this.#list.addSubnet(address!, bits, family);
    }
  }

  /** Treats an IPv4-mapped address (::ffff:192.0.2.1) as IPv4. */
  includes({ ip }: Endpoint): boolean {
    if (this.#isEmpty) return false;
    return this.#list.check(ipText(ip), isIpv4Mapped(ip) ? 'ipv4' : 'ipv6');
  }
}

/** True for a network such as `192.0.2.0/24` or `2001:db8::/32`, and for a single address. */
export function isNetwork(text: string): boolean {
  const match = NETWORK.exec(text);
  const family = match === null ? 0 : isIP(match[1]!);
  return family !== 0 && Number(match![2] ?? 0) <= (family === 4 ? 32 : 128);
}
