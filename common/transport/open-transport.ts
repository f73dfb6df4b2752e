/** Which transport a process uses: native where it was built, else the portable one. */
import { EnvironmentError } from '../process/lifecycle.js';
import { NativeTransport, notNativeBecause } from './native-transport.js';
import { NetTransport } from './net-transport.js';
import type { TlsIdentity } from './tls-identity.js';
import type { Transport, TransportEvents, TransportLimits } from './transport.js';

export type TransportName = 'net' | 'native';

export interface OpenedTransport {
  readonly transport: Transport;
  readonly name: TransportName;
  readonly because: string;
}

/**
 * @param wanted by name, or undefined for the best there is
 * @param identity with which TLS is spoken; then `wanted` is not `native`
 * @throws EnvironmentError when `native` is wanted and cannot be loaded
 */
export function openTransport(
  wanted: TransportName | undefined,
  events: TransportEvents,
  limits: TransportLimits,
  identity?: TlsIdentity,
): OpenedTransport {
  if (identity !== undefined) {
    const because = 'only this one speaks TLS';
    return { transport: new NetTransport(events, limits, identity), name: 'net', because };
  }
  const notNative = wanted === 'net' ? undefined : notNativeBecause();
  if (wanted === 'native' && notNative !== undefined) {
    throw new EnvironmentError(`LONGLINE_TRANSPORT=native, but it cannot be loaded: ${notNative}`);
  }
  if (wanted === 'net' || notNative !== undefined) {
    const because = notNative === undefined ? 'LONGLINE_TRANSPORT says so' : `native: ${notNative}`;
    return { transport: new NetTransport(events, limits), name: 'net', because };
  }
  const because = wanted === undefined ? 'it was built' : 'LONGLINE_TRANSPORT says so';
  return { transport: new NativeTransport(events, limits), name: 'native', because };
}
