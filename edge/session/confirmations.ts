/**
 * Confirmations of devices on their way to Redis: collected per client and sent a few times a
 * second, because the newest confirmation covers all earlier ones. One that Redis did not accept is
 * sent again, so that a push is not delivered twice only because Redis was unreachable.
 *
 * Bound: one entry per client; entries of disconnected clients stay until Redis has them. Over
 * `CLIENTS_MAX`, confirmations are dropped and counted: the device receives those pushes again.
 */
import type { Counter } from 'prom-client';
import { confirmInbox, isIdBefore } from '../../common/cluster/inbox.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';

/** Interval of `flush`, and so the maximum delay of `ACKED`. */
export const CONFIRMATIONS_FLUSH_MS = 100;
const CLIENTS_MAX = 100_000;

interface Confirmation {
  readonly tag: string;
  readonly clientId: string;
  readonly id: string;
}

export class Confirmations {
  /** By clientId. */
  readonly #pending = new Map<string, Confirmation>();
  readonly #confirmed: Counter;
  readonly #dropped: Counter;

  constructor(
    readonly link: Pick<RedisLink, 'execute'>,
    metrics: Metrics,
  ) {
    this.#confirmed = metrics.counter(
      'longline_edge_confirmations_total',
      'Confirmations written to inboxes, each for all pushes up to one id',
    );
    this.#dropped = metrics.counter(
      'longline_edge_confirmations_dropped_total',
      'Confirmations dropped because too many were waiting for Redis',
    );
  }

  add(tag: string, clientId: string, id: string): void {
    const pending = this.#pending.get(clientId);
    if (pending !== undefined && !isIdBefore(pending.id, id)) return;
    if (pending === undefined && this.#pending.size >= CLIENTS_MAX) this.#dropped.inc();
    else this.#pending.set(clientId, { tag, clientId, id });
  }

  /** Sends the confirmation of one client now: it may reconnect, here or elsewhere, at once. */
  flushClient(clientId: string): void {
    const pending = this.#pending.get(clientId);
    if (pending === undefined) return;
    this.#pending.delete(clientId);
    void this.#send(pending);
  }

  /** Sends all collected confirmations. Resolves when Redis has replied to all of them. */
  async flush(): Promise<void> {
    const sent = [...this.#pending.values()];
    this.#pending.clear();
    await Promise.all(sent.map((confirmation) => this.#send(confirmation)));
  }

  async #send({ tag, clientId, id }: Confirmation): Promise<void> {
    const { type } = await confirmInbox(this.link, tag, clientId, id);
    if (type === 'done') this.#confirmed.inc();
    else this.add(tag, clientId, id);
  }
}
