/**
 * What devices have confirmed, on its way to Redis: collected per client and sent a few times a
 * second, because of many confirmations the newest says it all. One that Redis did not take is sent
 * again, so that a push is not told twice only because Redis was away.
 *
 * Bound: one entry per client; clients that are gone keep theirs until Redis has it. Over
 * `CLIENTS_MAX` confirmations are dropped and counted: the device gets those pushes again.
 */
import type { Counter } from 'prom-client';
import { confirmInbox, isIdBefore } from '../../common/cluster/inbox.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';

/** To be flushed this often. Also what `ACKED` is late by at most. */
export const CONFIRMATIONS_FLUSH_MS = 100;
const CLIENTS_MAX = 100_000;

interface Confirmation {
  readonly tag: string;
  readonly clientId: string;
  readonly id: string;
}

export class Confirmations {
  /** By clientId. */
  readonly #waiting = new Map<string, Confirmation>();
  readonly #confirmed: Counter;
  readonly #dropped: Counter;

  constructor(
    readonly link: Pick<RedisLink, 'execute'>,
    metrics: Metrics,
  ) {
    this.#confirmed = metrics.counter(
      'longline_edge_confirmations_total',
      'Confirmations of devices that were written to inboxes, each for all up to one push.',
    );
    this.#dropped = metrics.counter(
      'longline_edge_confirmations_dropped_total',
      'Confirmations that were forgotten because too many waited for Redis.',
    );
  }

  add(tag: string, clientId: string, id: string): void {
    const known = this.#waiting.get(clientId);
    if (known !== undefined && !isIdBefore(known.id, id)) return;
    if (known === undefined && this.#waiting.size >= CLIENTS_MAX) this.#dropped.inc();
    else this.#waiting.set(clientId, { tag, clientId, id });
  }

  /** Sends what has been collected of one client now: it may be back, here or elsewhere, in no time. */
  hurry(clientId: string): void {
    const waiting = this.#waiting.get(clientId);
    if (waiting === undefined) return;
    this.#waiting.delete(clientId);
    void this.#send(waiting);
  }

  /** Sends what has been collected. Resolves when Redis has answered all of it. */
  async flush(): Promise<void> {
    const sent = [...this.#waiting.values()];
    this.#waiting.clear();
    await Promise.all(sent.map((confirmation) => this.#send(confirmation)));
  }

  async #send({ tag, clientId, id }: Confirmation): Promise<void> {
    const { type } = await confirmInbox(this.link, tag, clientId, id);
    if (type === 'done') this.#confirmed.inc();
    else this.add(tag, clientId, id);
  }
}
