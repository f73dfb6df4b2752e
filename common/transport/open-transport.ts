/** Selects the transport of a process: the native one if it was built, else the portable one. */
import { EnvironmentError } from '../process/lifecycle.js';
import { NativeTransport, nativeUnavailableReason } from './native-transport.js';
import { NetTransport } from './net-transport.js';
import type { TlsIdentity } from './tls-identity.js';
import type { Transport, TransportEvents, TransportLimits } from './transport.js';

export type TransportName = 'net' | 'native';

export interface OpenedTransport {
  readonly transport: Transport;
  readonly name: TransportName;
  /** Why this transport was selected. */
  readonly reason: string;
}

/**
 * @param requested undefined: the fastest that is available
 * @param identity undefined: without TLS
 * @throws EnvironmentError when `native` is requested and cannot be loaded
 */
export function openTransport(
  requested: TransportName | undefined,
  events: TransportEvents,
  limits: TransportLimits,
  identity?: TlsIdentity,
): OpenedTransport {
  const unavailable = requested === 'net' ? undefined : nativeUnavailableReason();
  if (requested === 'native' && unavailable !== undefined) {
    throw new EnvironmentError(
      `LONGLINE_TRANSPORT is native, but the addon cannot be loaded: ${unavailable}`,
    );
  }
  if (requested === 'net' || unavailable !== undefined) {
    const reason =
      unavailable === undefined
        ? 'set by LONGLINE_TRANSPORT'
        : `native is unavailable: ${unavailable}`;
    return { transport: new NetTransport(events, limits, identity), name: 'net', reason };
  }
  const reason = requested === undefined ? 'the addon is available' : 'set by LONGLINE_TRANSPORT';
  return { transport: new NativeTransport(events, limits, identity), name: 'native', reason };
}
