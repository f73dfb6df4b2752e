/** Opens the transport of the device port: limits, TLS, and its log line and metrics. */
import type { Logger } from '../common/process/log.js';
import type { Metrics } from '../common/process/metrics.js';
import { openTransport } from '../common/transport/open-transport.js';
import { TlsIdentity } from '../common/transport/tls-identity.js';
import type { Transport, TransportEvents } from '../common/transport/transport.js';
import type { EdgeConfig } from './config.js';

/** Connections beyond the limit that are open while they receive EDGE_FULL. */
const REJECTIONS_AT_ONCE_MAX = 128;

/** Opens the certificates of the device port; undefined if devices connect without TLS. */
export async function openTlsIdentity(
  { tls }: EdgeConfig,
  log: Logger,
  metrics: Metrics,
): Promise<TlsIdentity | undefined> {
  const failed = metrics.counter(
    'longline_edge_tls_failures_total',
    'TLS connections of devices that failed, by reason',
    ['reason'],
  );
  return tls && TlsIdentity.open(tls, (reason) => failed.inc({ reason }), log);
}

export interface DeviceTransportOptions {
  readonly config: EdgeConfig;
  readonly identity: TlsIdentity | undefined;
  /** Returns the handler of events. It is created after the transport, because it writes to it. */
  readonly handler: () => TransportEvents;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export function openDeviceTransport(options: DeviceTransportOptions): Transport {
  const { config, identity, handler, log, metrics } = options;
  const limits = {
    connectionsMax: config.connectionsMax + REJECTIONS_AT_ONCE_MAX,
    sendBufferBytesMax: config.sendBufferBytesMax,
  };
  const events = forwardTo(handler);
  const { transport, name, reason } = openTransport(config.transport, events, limits, identity);
  log.info({ transport: name, reason }, 'transport of devices selected');
  metrics.gauge(
    'longline_edge_transport_native',
    'Whether the native transport is in use: 1, or 0 for the portable one',
    () => (name === 'native' ? 1 : 0),
  );
  metrics.total(
    'longline_edge_accept_pauses_total',
    'Pauses of half a second in accepting connections, caused by a lack of descriptors',
    () => transport.acceptPauses(),
  );
  metrics.gauges(
    'longline_edge_tls_connections',
    'TLS connections of devices, by version: 1.2 or 1.3',
    'version',
    () => transport.tlsConnections(),
  );
  return transport;
}

function forwardTo(handler: () => TransportEvents): TransportEvents {
  return {
    onOpen: (connection) => handler().onOpen(connection),
    onBytes: (connection, bytes) => handler().onBytes(connection, bytes),
    onClientCertificate: (connection, certificate) =>
      handler().onClientCertificate?.(connection, certificate),
    onEnd: (connection) => handler().onEnd(connection),
    onClose: (connection, cause) => handler().onClose(connection, cause),
    onOverLimit: () => handler().onOverLimit(),
    onTimer: (connection) => handler().onTimer(connection),
  };
}
