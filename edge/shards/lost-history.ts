/**
 * Tells the devices of a shard when Redis may have lost stored pushes of it: it has evicted keys, or
 * has a lower counter than before (it was emptied, or a failover lost the newest writes).
 *
 * First the shard gets a mark in Redis, from which each later connect learns of the loss, at any
 * edge. Then the inboxes of the connected devices are read again: those whose history is not proven
 * receive `reset`. Shards are processed at the rate at which inboxes are read, so that a loss does
 * not delay pushes; one that has more losses meanwhile stays in the queue once.
 */
import type { Counter } from 'prom-client';
import { markLostHistory } from '../../common/cluster/history/lost-history.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import type { Shards } from './shards.js';

/** To be called this often. */
export const LOST_HISTORY_STEP_MS = 100;
const SHARDS_PER_STEP = 64;
/** While more inbox reads than this wait, no further shard is processed. */
const PENDING_READS_MAX = 128;

interface Loss {
  /** Nothing was lost before this time, in ms of the monotonic clock. */
  readonly sinceMs: number;
  readonly cause: string;
}

export interface LostHistoryOptions {
  readonly link: Pick<RedisLink, 'execute' | 'subscriber'>;
  readonly names: ShardNames;
  readonly shards: Pick<Shards, 'owns' | 'hasClients'>;
  readonly pendingReads: () => number;
  /** Reads the inboxes of the shard's clients again. */
  readonly onMarked: (shard: number, sinceMs: number) => void;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export class LostHistory {
  /** By shard; at most one loss each. */
  readonly #pending = new Map<number, Loss>();
  readonly #marked: Counter;
  #isStepping = false;

  constructor(readonly options: LostHistoryOptions) {
    const { metrics } = options;
    this.#marked = metrics.counter(
      'longline_edge_history_losses_total',
      'Losses of stored pushes in Redis that were told to the devices of a shard, by shard',
    );
    metrics.gauge(
      'longline_edge_history_losses_pending',
      'Shards whose devices are still to be told that Redis has lost stored pushes',
      () => this.#pending.size,
    );
  }

  /**
   * A master has evicted keys, of any of its shards.
   * @param sinceMs in ms of the monotonic clock; undefined: before this process started
   * @param cause the same for every process that reads it
   */
  onEvicted(master: string, sinceMs: number | undefined, cause: string): void {
    const { names, shards, link } = this.options;
    const loss = { sinceMs: sinceMs ?? Number.POSITIVE_INFINITY, cause };
    for (let shard = 0; shard < names.shardCount; shard++) {
      if (!shards.owns(shard) && !shards.hasClients(shard)) continue;
      if (link.subscriber.masterOf(names.channelOf(shard)) === master) this.#add(shard, loss);
    }
  }

  /** The counter of the shard went back from `before` to `now`. */
  onCounterFell(shard: number, sinceMs: number, before: number, now: number): void {
    const { log } = this.options;
    if (this.#pending.size === 0) log.warn({ shard, before, now }, 'Redis has lost stored pushes');
    this.#add(shard, { sinceMs, cause: `counter:${before}:${now}` });
  }

  /** Never rejects. */
  async step(): Promise<void> {
    const { pendingReads } = this.options;
    if (this.#isStepping || this.#pending.size === 0 || pendingReads() > PENDING_READS_MAX) return;
    this.#isStepping = true;
    const shards = [...this.#pending.keys()].slice(0, SHARDS_PER_STEP);
    await Promise.all(shards.map((shard) => this.#tell(shard)));
    this.#isStepping = false;
  }

  #add(shard: number, loss: Loss): void {
    const pending = this.#pending.get(shard);
    const sinceMs = Math.min(loss.sinceMs, pending?.sinceMs ?? Number.POSITIVE_INFINITY);
    this.#pending.set(shard, { sinceMs, cause: loss.cause });
  }

  async #tell(shard: number): Promise<void> {
    const { link, names, onMarked } = this.options;
    const loss = this.#pending.get(shard)!;
    const written = await markLostHistory(link, names.channelOf(shard), loss.cause);
    // Redis is away, or has no memory for the mark: the next step tries again.
    if (written.type !== 'done') return;
    if (written.reply) this.#marked.inc();
    if (this.#pending.get(shard) === loss) this.#pending.delete(shard);
    onMarked(shard, loss.sinceMs);
  }
}
