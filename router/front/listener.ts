/** Runs a front: its transport, its listening port, its periodic step, and its shutdown. */
import { lookup } from 'node:dns/promises';
import type { Assignment } from '../../common/cluster/assignment.js';
import { listenOn } from '../../common/process/lifecycle.js';
import type { Logger } from '../../common/process/log.js';
import type { MemoryWatch } from '../../common/process/memory/memory-watch.js';
import type { Metrics } from '../../common/process/metrics.js';
import { openTransport, type TransportName } from '../../common/transport/open-transport.js';
import type { TransportEvents } from '../../common/transport/transport.js';
import type { ClosedPorts } from '../lookup/closed-ports.js';
import { FRONT_STEP_MS, Front, type FrontConfig, frontConnectionsMax } from './front.js';

/** Bytes that are buffered for a peer that does not read: one read of the other side. */
const SEND_BUFFER_BYTES_MAX = 64 * 1024;

export interface FrontListenerConfig extends FrontConfig {
  /** 0: any free port. */
  readonly port: number;
}

interface FrontListenerOptions {
  readonly config: FrontListenerConfig;
  /** Undefined: the best one available. */
  readonly transport: TransportName | undefined;
  readonly assignment: () => Assignment | undefined;
  readonly closedPorts: ClosedPorts;
  readonly memory: Pick<MemoryWatch, 'isLow'>;
  /** Called when a drain has closed the last device. */
  readonly onDrained: () => void;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export class FrontListener {
  readonly #front: Front;
  readonly #port: number;
  readonly #steps: NodeJS.Timeout;

  constructor({
    config,
    transport,
    assignment,
    closedPorts,
    memory,
    onDrained,
    log,
    metrics,
  }: FrontListenerOptions) {
    const open = (events: TransportEvents) => {
      const opened = openTransport(transport, events, {
        connectionsMax: frontConnectionsMax(config.devicesMax),
        sendBufferBytesMax: SEND_BUFFER_BYTES_MAX,
      });
      const { name, reason } = opened;
      log.info({ transport: name, reason }, 'transport of the front selected');
      return opened.transport;
    };
    this.#port = config.port;
    this.#front = new Front({
      config,
      assignment,
      closedPorts,
      memory,
      resolveHost,
      openTransport: open,
      metrics,
    });
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
    await this.#front.transport.close();
  }
}

async function resolveHost(host: string): Promise<string[]> {
  const addresses = await lookup(host, { all: true });
  return addresses.map(({ address }) => address);
}
