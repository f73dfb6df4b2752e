/**
 * Writes the events of live-only pushes that were dropped because their device did not read: a
 * device that does not read may lose many, so they are counted, and one event per second has their
 * number.
 *
 * Bound: `CLIENTS_MAX` clients that wait; the drops of others have no event, and are counted.
 */
import type { Counter } from 'prom-client';
import type { EventBounds } from '../../../common/cluster/events/event-stream.js';
import { writeDropped } from '../../../common/cluster/events/push-events.js';
import type { ShardNames } from '../../../common/cluster/shard-names.js';
import type { Metrics } from '../../../common/process/metrics.js';
import type { ScriptLink } from '../../../common/redis/script.js';

export const DROPPED_FLUSH_MS = 1_000;
const CLIENTS_MAX = 10_000;

export interface DroppedPushesOptions {
  readonly link: ScriptLink;
  readonly names: Pick<ShardNames, 'channelOf'>;
  readonly bounds: EventBounds;
  readonly metrics: Metrics;
}

export class DroppedPushes {
  /** By shard and clientId: number of pushes. */
  #pending = new Map<number, Map<string, number>>();
  #clients = 0;
  readonly #untold: Counter;

  constructor(readonly options: DroppedPushesOptions) {
    this.#untold = options.metrics.counter(
      'longline_edge_untold_drops_total',
      'Live-only pushes dropped at slow devices without an event, because too many clients had one',
    );
  }

  add(shard: number, clientId: string, count = 1): void {
    const known = this.#pending.get(shard)?.get(clientId);
    if (known === undefined && this.#clients >= CLIENTS_MAX) return this.#untold.inc(count);
    if (known === undefined) this.#clients++;
    const ofShard = this.#pending.get(shard) ?? new Map<string, number>();
    ofShard.set(clientId, (known ?? 0) + count);
    this.#pending.set(shard, ofShard);
  }

  /**
   * Sends what was counted. Resolves when Redis has replied; what it did not take is sent again.
   */
  async flush(): Promise<void> {
    const sent = this.#pending;
    this.#pending = new Map();
    this.#clients = 0;
    await Promise.all([...sent].map(([shard, counts]) => this.#send(shard, counts)));
  }

  async #send(shard: number, counts: ReadonlyMap<string, number>): Promise<void> {
    const { link, names, bounds } = this.options;
    const written = await writeDropped(link, names.channelOf(shard), counts, bounds);
    if (written.type === 'done') return;
    for (const [clientId, count] of counts) this.add(shard, clientId, count);
  }
}
