/** Reads PROXY headers from trusted proxies, and rejects PROXY headers from other peers. */
import { type Endpoint, parseEndpoint } from '../net/ip-address.js';
import { Networks } from '../net/networks.js';
import type { Rejection } from '../process/errors.js';
import { type ProxyHeader, readProxyHeader } from './proxy-protocol.js';

export class ProxyGuard {
  readonly #proxies: Networks;

  /** @param networks networks of the trusted proxies */
  constructor(networks: readonly string[]) {
    this.#proxies = new Networks(networks);
  }

  trusts(peer: Endpoint): boolean {
    return this.#proxies.includes(peer);
  }

  /**
   * Reads the first bytes of a connection.
   * @param remoteAddress called only when there is a header
   * @returns see `readProxyHeader`
   */
  read(
    bytes: Buffer,
    remoteAddress: () => string | undefined,
  ): ProxyHeader | Rejection | 'more' | 'none' {
    return readProxyHeader(bytes, () => {
      const peer = parseEndpoint(remoteAddress() ?? '');
      return peer !== undefined && this.trusts(peer);
    });
  }
}
