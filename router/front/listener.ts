/** Runs a front: its transport, its listening port, its periodic step, and its shutdown. */
import { lookup } from 'node:dns/promises';
import type { Authenticator } from '../../common/auth/authenticator.js';
import type { Assignment } from '../../common/cluster/assignment.js';
import { listenOn } from '../../common/process/lifecycle.js';
import type { Logger } from '../../common/process/log.js';
import type { MemoryWatch } from '../../common/process/memory/memory-watch.js';
import type { Metrics } from '../../common/process/metrics.js';
import { openTransport, type TransportName } from '../../common/transport/open-transport.js';
import { type TlsFiles, TlsIdentity } from '../../common/transport/tls-identity.js';
import type { TransportEvents } from '../../common/transport/transport.js';
import type { ClosedPorts } from '../lookup/closed-ports.js';
import { FRONT_STEP_MS, Front, type FrontConfig, frontConnectionsMax } from './front.js';

/** Maximum bytes that are buffered for a peer that does not read: one read of the other side. */
const SEND_BUFFER_BYTES_MAX = 64 * 1024;

export interface FrontListenerConfig extends FrontConfig {
  /** 0: any free port. */
  readonly port: number;
}

interface FrontListenerOptions {
  readonly config: FrontListenerConfig;
  /** Undefined: devices connect without TLS. */
  readonly identity: TlsIdentity | undefined;
  /** Undefined: the best one available. */
  readonly transport: TransportName | undefined;
  readonly assignment: () => Assignment | undefined;
  readonly closedPorts: ClosedPorts;
  readonly authenticator: Pick<Authenticator, 'issueTicket'>;
  readonly memory: Pick<MemoryWatch, 'isLow'>;
  /** Called when a drain has closed the last device. */
  readonly onDrained: () => void;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export class FrontListener {
  readonly #front: Front;
  readonly #port: number;
  readonly #identity: TlsIdentity | undefined;
  readonly #steps: NodeJS.Timeout;

  constructor(options: FrontListenerOptions) {
    const { config, identity, transport, onDrained, log } = options;
    const open = (events: TransportEvents) => {
      const limits = {
        connectionsMax: frontConnectionsMax(config.devicesMax),
        sendBufferBytesMax: SEND_BUFFER_BYTES_MAX,
      };
      const opened = openTransport(transport, events, limits, identity);
      const { name, reason } = opened;
      log.info({ transport: name, reason }, 'transport of the front selected');
      return opened.transport;
    };
    this.#port = config.port;
    this.#identity = identity;
    this.#front = new Front({ ...options, resolveHost, openTransport: open });
    this.#steps = setInterval(() => {
      if (this.#front.step(performance.now())) onDrained();
    }, FRONT_STEP_MS);
  }

  /** Resolves with the port. */
  listen(host: string): Promise<number> {
    const { transport } = this.#front;
    return listenOn(host, this.#port, transport.listen.bind(transport));
  }

  get isDraining(): boolean {
    return this.#front.isDraining;
  }

  assign(assignment: Assignment): void {
    this.#front.assign(assignment);
  }

  drain(): void {
    this.#front.drain(performance.now());
  }

  async close(): Promise<void> {
    clearInterval(this.#steps);
    this.#identity?.close();
    await this.#front.transport.close();
  }
}

/** Opens the certificates of the front; undefined if devices connect without TLS. */
export async function openFrontIdentity(
  tls: TlsFiles | undefined,
  log: Logger,
  metrics: Metrics,
): Promise<TlsIdentity | undefined> {
  const failed = metrics.counter(
    'longline_router_front_tls_failures_total',
    'TLS connections of devices to the front that failed, by reason',
    ['reason'],
  );
  return tls && TlsIdentity.open(tls, (reason) => failed.inc({ reason }), log);
}

async function resolveHost(host: string): Promise<string[]> {
  const addresses = await lookup(host, { all: true });
  return addresses.map(({ address }) => address);
}
