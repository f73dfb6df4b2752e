/**
 * Notices that Redis has lost events which this edge has written, after a failover or a restart.
 * Consumers receive `events_lost`. Afterwards the events of connections are corrected: open
 * connections are announced again (session/clients.ts), and the ends of closed ones are written
 * here.
 *
 * Memory: one id for each shard.
 */
import type { Counter } from 'prom-client';
import type { EndedClient } from '../../../common/cluster/events/client-events.js';
import type { EventBounds } from '../../../common/cluster/events/event-stream.js';
import { markLostEvents, readOwnConnections } from '../../../common/cluster/events/lost-events.js';
import { MasterChanges } from '../../../common/cluster/history/master-changes.js';
import type { ShardNames } from '../../../common/cluster/shard-names.js';
import type { Metrics } from '../../../common/process/metrics.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import type { ScriptLink } from '../../../common/redis/script.js';

export const LOST_EVENTS_STEP_MS = 200;
/** Maximum scripts in one step. */
const CHECKED_AT_ONCE = 256;

export interface LostEventsOptions {
  readonly link: ScriptLink & Pick<RedisLink, 'subscriber' | 'masterCheck'>;
  readonly names: Pick<ShardNames, 'shardOf'>;
  readonly edgeIncarnation: string;
  readonly bounds: EventBounds;
  readonly isConnected: (clientId: string, connection: number) => boolean;
  readonly onEnded: (shard: number, ended: EndedClient) => void;
  readonly metrics: Metrics;
}

export class LostEvents {
  /** By channel: the newest event that this edge has written. */
  readonly #newest = new Map<string, string>();
  /**
   * By channel: an event that may be lost, and since when that is known, in ms of the monotonic
   * clock.
   */
  readonly #doubted = new Map<string, { readonly id: string; readonly sinceMs: number }>();
  readonly #masters: MasterChanges;
  readonly #lost: Counter;
  #isStepping = false;

  constructor(readonly options: LostEventsOptions) {
    this.#masters = new MasterChanges(options.link);
    this.#lost = options.metrics.counter(
      'longline_edge_event_losses_total',
      'Losses of events in Redis that this edge has noticed and told to consumers, by shard',
    );
  }

  onWritten(channel: string, id: string): void {
    this.#newest.set(channel, id);
  }

  /** Never rejects. */
  async step(nowMs: number): Promise<void> {
    if (this.#masters.take()) this.#doubtAll(nowMs);
    if (this.#isStepping || this.#doubted.size === 0) return;
    this.#isStepping = true;
    const checked = [...this.#doubted].slice(0, CHECKED_AT_ONCE);
    await Promise.all(
      checked.map(([channel, { id, sinceMs }]) => this.#check(channel, id, nowMs - sinceMs)),
    );
    this.#isStepping = false;
  }

  #doubtAll(nowMs: number): void {
    for (const [channel, id] of this.#newest) {
      if (!this.#doubted.has(channel)) this.#doubted.set(channel, { id, sinceMs: nowMs });
    }
  }

  async #check(channel: string, id: string, noticedMsAgo: number): Promise<void> {
    const { link, bounds } = this.options;
    const marked = await markLostEvents(link, channel, id, noticedMsAgo, bounds);
    // While Redis does not answer, the next step asks again.
    if (marked.type !== 'done') return;
    if (marked.reply) {
      this.#lost.inc();
      if (!(await this.#endOthers(channel))) return;
    }
    this.#doubted.delete(channel);
    // Each loss is reported once.
    if (marked.reply && this.#newest.get(channel) === id) this.#newest.delete(channel);
  }

  /**
   * Writes again the ends of connections that Redis has lost. Resolves with false if Redis does
   * not answer.
   */
  async #endOthers(channel: string): Promise<boolean> {
    const { link, names, edgeIncarnation, isConnected, onEnded } = this.options;
    let cursor = '0';
    do {
      const read = await readOwnConnections(link, channel, edgeIncarnation, cursor);
      if (read.type !== 'done') return false;
      ({ cursor } = read.reply);
      for (const { clientId, connection } of read.reply.connections) {
        if (isConnected(clientId, connection)) continue;
        onEnded(names.shardOf(channel), { clientId, connection, reason: 'events_lost' });
      }
    } while (cursor !== '0');
    return true;
  }
}
