/** The backend in this process, for machines without Go. */
import { credentials } from '@grpc/grpc-js';
import { BroadcastRequest, PushServiceClient } from '../../../proto/gen/longline/v1/push.js';
import { nowUs } from '../clock.js';
import { sum } from '../statistics.js';
import { type Backend, type Clients, clientIdsOf, type FanOut, type Load } from './backend.js';
import { PushLoad, type RunningLoad } from './push-load.js';
import { pushToEach } from './push-to-each.js';
import { timedPayload } from './timed-payload.js';

/** Half of the router's limit per stream: saturates it without being stopped by flow control. */
const WINDOW = 4_096;
const UNARY_CONCURRENCY = 128;
const WAIT_MS = 30_000;
/** The router's maximum. */
const CLIENTS_PER_CALL = 10_000;

export class NodeBackend implements Backend {
  readonly kind = 'node';
  readonly pid = process.pid;
  readonly #services: readonly PushServiceClient[];
  #running: readonly RunningLoad[] = [];

  constructor(routers: readonly string[]) {
    this.#services = routers.map(
      (address) => new PushServiceClient(address, credentials.createInsecure()),
    );
  }

  async start({ calls, durable, perSecond }: Load, clients: Clients): Promise<void> {
    const share = 1 / this.#services.length;
    this.#running = this.#services.map((service) => {
      const load = new PushLoad(service, clientIdsOf(clients), durable ? undefined : 0);
      if (calls === 'unary') {
        if (perSecond === 0) return load.unary(Math.ceil(UNARY_CONCURRENCY * share));
        return load.paceUnary(perSecond * share);
      }
      return perSecond === 0 ? load.saturate(WINDOW * share) : load.pace(perSecond * share);
    });
  }

  async stop(): Promise<void> {
    await Promise.all(this.#running.map((load) => load.stop()));
  }

  async fanOut({ way, durable }: FanOut, clients: Clients): Promise<{ startUs: number }> {
    const startUs = nowUs();
    const reached =
      way === 'all' ? await this.#broadcast() : await this.#pushToEach(durable, clients);
    if (reached !== clients.clients) {
      throw new Error(`${reached} of ${clients.clients} clients were reached`);
    }
    return { startUs };
  }

  async close(): Promise<void> {
    for (const service of this.#services) service.close();
  }

  async #pushToEach(durable: boolean, clients: Clients): Promise<number> {
    const ids = clientIdsOf(clients);
    const calls = Math.ceil(ids.length / CLIENTS_PER_CALL);
    const parts = Array.from({ length: calls }, (_, i) =>
      ids.slice((i * ids.length) / calls, ((i + 1) * ids.length) / calls),
    );
    const payload = timedPayload();
    const results = await Promise.all(
      parts.map((part) =>
        pushToEach(this.#services[0]!, part, {
          clientsPerCall: CLIENTS_PER_CALL,
          payload,
          waitMs: WAIT_MS,
          ...(!durable && { ttlMs: 0 }),
        }),
      ),
    );
    return sum(results.map(({ written }) => written));
  }

  #broadcast(): Promise<number> {
    const request = BroadcastRequest.fromPartial({
      payload: timedPayload(),
      clientsPerSecond: 2 ** 31 - 1,
    });
    return new Promise((resolve, reject) => {
      this.#services[0]!.broadcast(request, (error, response) =>
        error ? reject(error) : resolve(response.written),
      );
    });
  }
}
