/**
 * Writes the events of connections that have ended: collected by shard, and sent with one script
 * for each shard at the end of the turn. What Redis has not confirmed is sent again, in order; the
 * script writes no event twice.
 *
 * Bound: `ENDED_MAX` connections that wait for Redis. Beyond it an event is dropped and counted:
 * the event of that end is written when the client connects again, as `session_replaced`.
 */
import type { Counter } from 'prom-client';
import { type EndedClient, endWithEvents } from '../../../common/cluster/events/client-events.js';
import type { EventBounds } from '../../../common/cluster/events/event-stream.js';
import type { ShardNames } from '../../../common/cluster/shard-names.js';
import type { Metrics } from '../../../common/process/metrics.js';
import { atTurnEnd } from '../../../common/process/time/turn-end.js';
import type { ScriptLink } from '../../../common/redis/script.js';

export const ENDED_MAX = 200_000;
/** Maximum number of connections in one script, which blocks Redis while it runs. */
const PER_SCRIPT = 250;

export interface EndedClientsOptions {
  readonly link: ScriptLink;
  readonly names: Pick<ShardNames, 'channelOf'>;
  readonly edgeIncarnation: string;
  readonly bounds: EventBounds;
  readonly metrics: Metrics;
}

export class EndedClients {
  /** By shard; oldest first. */
  readonly #pending = new Map<number, EndedClient[]>();
  readonly #sending = new Map<number, Promise<void>>();
  #count = 0;
  #isFlushDue = false;
  readonly #dropped: Counter;

  constructor(readonly options: EndedClientsOptions) {
    const { metrics } = options;
    metrics.gauge(
      'longline_edge_events_pending',
      'Events of ended connections that wait for Redis',
      () => this.#count,
    );
    this.#dropped = metrics.counter(
      'longline_edge_events_dropped_total',
      'Events of ended connections dropped because too many waited for Redis',
    );
  }

  add(shard: number, ended: EndedClient): void {
    if (this.#count >= ENDED_MAX) return this.#dropped.inc();
    this.#count++;
    const pending = this.#pending.get(shard);
    if (pending === undefined) this.#pending.set(shard, [ended]);
    else pending.push(ended);
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    atTurnEnd(() => {
      this.#isFlushDue = false;
      void this.flush();
    });
  }

  /**
   * Sends what waits, also what has failed. Resolves when Redis has replied. To be called each
   * second.
   */
  async flush(): Promise<void> {
    for (const shard of this.#pending.keys()) {
      if (this.#sending.has(shard)) continue;
      const sending = this.#send(shard).finally(() => this.#sending.delete(shard));
      this.#sending.set(shard, sending);
    }
    await Promise.all(this.#sending.values());
  }

  async #send(shard: number): Promise<void> {
    const { link, names, edgeIncarnation, bounds } = this.options;
    const channel = names.channelOf(shard);
    const pending = this.#pending.get(shard)!;
    while (pending.length > 0) {
      const sent = pending.slice(0, PER_SCRIPT);
      const outcome = await endWithEvents(link, channel, edgeIncarnation, sent, bounds);
      if (outcome.type !== 'done') return;
      pending.splice(0, sent.length);
      this.#count -= sent.length;
    }
    this.#pending.delete(shard);
  }
}
