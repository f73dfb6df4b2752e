/** Who may say for whom it connects: reads the PROXY header of proxies, and rejects those of strangers. */

import { type Endpoint, parseEndpoint } from '../net/ip-address.js';
import { Networks } from '../net/networks.js';
import type { Rejection } from '../process/errors.js';
import { type ProxyHeader, readProxyHeader } from './proxy-protocol.js';

export class ProxyGuard {
  readonly #proxies: Networks;

  /** @param networks where proxies connect from */
  constructor(networks: readonly string[]) {
    this.#proxies = new Networks(networks);
  }

  believes(peer: Endpoint): boolean {
    return this.#proxies.includes(peer);
  }

  /**
   * Reads the first bytes of a connection.
   * @param remoteAddress asked only when there is a header
   * @returns as `readProxyHeader`
   */
  read(
    bytes: Buffer,
    remoteAddress: () => string | undefined,
  ): ProxyHeader | Rejection | 'more' | 'none' {
    return readProxyHeader(bytes, () => {
      const peer = parseEndpoint(remoteAddress() ?? '');
      return peer !== undefined && this.believes(peer);
    });
  }
}
