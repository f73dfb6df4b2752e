/** Runs a front: its transport, its steps, and its end. */
import { lookup } from 'node:dns/promises';
import type { Assignment } from '../../common/cluster/assignment.js';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import { openTransport, type TransportName } from '../../common/transport/open-transport.js';
import type { Transport } from '../../common/transport/transport.js';
import type { RouterFrontConfig } from '../config.js';
import { FRONT_STEP_MS, Front, frontConnectionsMax } from './front.js';

/** What waits for a device or an edge that does not read: one read of the other, no more. */
const SEND_BUFFER_BYTES_MAX = 64 * 1024;

export class FrontPort {
  readonly #front: Front;
  readonly #transport: Transport;
  readonly #steps: NodeJS.Timeout;

  /** @param onEmpty called when the front was told to leave and has let everybody go */
  constructor(
    readonly config: RouterFrontConfig,
    transportName: TransportName | undefined,
    assignment: () => Assignment | undefined,
    onEmpty: () => void,
    log: Logger,
    metrics: Metrics,
  ) {
    const find = async (host: string) => {
      const found = await lookup(host, { all: true });
      return found.map(({ address }) => address);
    };
    this.#front = new Front(config, assignment, find, metrics);
    const { transport, name, because } = openTransport(transportName, this.#front, {
      connectionsMax: frontConnectionsMax(config.devicesMax),
      sendBufferBytesMax: SEND_BUFFER_BYTES_MAX,
    });
    log.info({ transport: name, because }, 'the transport of the front is chosen');
    this.#transport = this.#front.transport = transport;
    this.#steps = setInterval(() => {
      if (this.#front.step(Date.now())) onEmpty();
    }, FRONT_STEP_MS);
    metrics.gauge(
      'longline_router_front_accept_pauses',
      'Times that nothing was accepted for half a second, as the system had run out of descriptors.',
      () => transport.acceptPauses(),
    );
  }

  /** Resolves with the port. */
  listen(host: string): Promise<number> {
    return this.#transport.listen(host, this.config.port);
  }

  get isLeaving(): boolean {
    return this.#front.isLeaving;
  }

  assign(assignment: Assignment): void {
    this.#front.assign(assignment);
  }

  leave(): void {
    this.#front.leave(Date.now());
  }

  async close(): Promise<void> {
    clearInterval(this.#steps);
    await this.#transport.close();
  }
}
