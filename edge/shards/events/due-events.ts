/**
 * Writes the events that are due at a time, for the shards that this edge owns: unread and expired
 * pushes, and clients that have not returned after a goaway.
 */
import type { Counter } from 'prom-client';
import { DUE_PER_CALL, findDue, writeDue } from '../../../common/cluster/events/due-events.js';
import type { EventBounds } from '../../../common/cluster/events/event-stream.js';
import type { CountersLink } from '../../../common/cluster/history/shard-counters.js';
import type { ShardNames } from '../../../common/cluster/shard-names.js';
import type { Metrics } from '../../../common/process/metrics.js';
import type { ScriptLink } from '../../../common/redis/script.js';
import type { Shards } from '../shards.js';

/** Interval of `step`, and so the delay of an event. */
export const DUE_STEP_MS = 500;
/** Calls for one shard in a step: more than that many events wait for the next. */
const CALLS_PER_SHARD = 10;

export interface DueEventsOptions {
  readonly link: CountersLink & ScriptLink;
  readonly names: ShardNames;
  readonly shards: Pick<Shards, 'owns'>;
  readonly bounds: EventBounds;
  readonly metrics: Metrics;
}

export class DueEvents {
  readonly #unread: Counter;
  readonly #expired: Counter;
  #isStepping = false;

  constructor(readonly options: DueEventsOptions) {
    const { metrics } = options;
    this.#unread = metrics.counter(
      'longline_edge_pushes_unread_total',
      'Pushes of which an event said that they were unread after notify_unread_after_ms',
    );
    this.#expired = metrics.counter(
      'longline_edge_expired_events_total',
      'Pushes of which an event of this edge said that they had expired unread',
    );
  }

  /** Never rejects. */
  async step(): Promise<void> {
    if (this.#isStepping) return;
    this.#isStepping = true;
    const { link, names, shards } = this.options;
    const channels: string[] = [];
    for (let shard = 0; shard < names.shardCount; shard++) {
      if (shards.owns(shard)) channels.push(names.channelOf(shard));
    }
    for (const i of await findDue(link, channels)) await this.#write(channels[i]!);
    this.#isStepping = false;
  }

  async #write(channel: string): Promise<void> {
    const { link, bounds } = this.options;
    for (let i = 0; i < CALLS_PER_SHARD; i++) {
      const written = await writeDue(link, channel, bounds);
      if (written.type !== 'done') return;
      this.#unread.inc(written.reply.unread);
      this.#expired.inc(written.reply.expired);
      if (written.reply.entries < DUE_PER_CALL) return;
    }
  }
}
