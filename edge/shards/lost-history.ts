/**
 * Tells the devices of a shard when Redis may have lost stored pushes of it: it has evicted keys,
 * or has a lower counter than before, or does not know a push any more (it was emptied, or a
 * failover lost the newest writes).
 *
 * First the shard gets a mark in Redis, from which each later connect learns of the loss, at any
 * edge. Then the inboxes of the connected devices are read again: those whose history is not proven
 * receive `reset`. Shards are processed at the rate at which inboxes are read, so that a loss does
 * not delay pushes; one that has more losses meanwhile stays in the queue once. While a master
 * evicts keys all the time, every mark is still written, as no device may resume with an older one;
 * but the inboxes of a shard are read at most once a minute.
 */
import type { Counter } from 'prom-client';
import { markLostHistory } from '../../common/cluster/history/lost-history.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import { type Logger, LogInterval } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import type { ScriptLink } from '../../common/redis/script.js';
import type { Shards } from './shards.js';

/** To be called this often. */
export const LOST_HISTORY_STEP_MS = 100;
const SHARDS_PER_STEP = 64;
/** While more inbox reads than this wait, no further shard is processed. */
const PENDING_READS_MAX = 128;
/** Shortest time between two readings of the inboxes of a shard because of evictions. */
export const EVICTIONS_READ_MS = 60_000;

/** Times in ms of the monotonic clock. */
interface Loss {
  /** Nothing was lost before this time. */
  readonly sinceMs: number;
  readonly noticedAtMs: number;
  readonly cause: string;
  /** The inboxes are read only when this time has come. */
  readonly readAtMs: number;
  readonly isMarked: boolean;
}

export interface LostHistoryOptions {
  readonly link: ScriptLink & Pick<RedisLink, 'subscriber'>;
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
  /** By shard: when its inboxes were read because of a loss, in ms of the monotonic clock. */
  readonly #readAtMs = new Map<number, number>();
  readonly #marked: Counter;
  readonly #log = new LogInterval();
  #isStepping = false;

  constructor(readonly options: LostHistoryOptions) {
    const { metrics } = options;
    this.#marked = metrics.counter(
      'longline_edge_history_losses_total',
      'Losses of stored pushes in Redis that were told to the devices of a shard, by shard',
    );
    metrics.gauge(
      'longline_edge_history_losses_pending',
      'Shards whose loss of stored pushes is still to be marked, or whose inboxes are due to be read',
      () => this.#due(Number.POSITIVE_INFINITY).length,
    );
  }

  /**
   * A master has evicted keys, of any of its shards.
   * @param sinceMs in ms of the monotonic clock; undefined: before this process started
   * @param cause the same for every process that reads it
   */
  onEvicted(master: string, sinceMs: number | undefined, cause: string): void {
    const { names, shards, link } = this.options;
    for (let shard = 0; shard < names.shardCount; shard++) {
      if (!shards.owns(shard) && !shards.hasClients(shard)) continue;
      if (link.subscriber.masterOf(names.channelOf(shard)) !== master) continue;
      const readAtMs = (this.#readAtMs.get(shard) ?? Number.NEGATIVE_INFINITY) + EVICTIONS_READ_MS;
      this.#add(shard, sinceMs ?? Number.POSITIVE_INFINITY, cause, readAtMs);
    }
  }

  /**
   * The counter of the shard went back from `before` to `now`: any client may have lost the newest.
   */
  onCounterFell(shard: number, before: number, now: number): void {
    this.#onNewestLost(shard, { before, now }, `${before}:${now}`);
  }

  /** Redis has lost a push of the shard: any client may have lost its newest. */
  onPushLost(shard: number, id: string): void {
    this.#onNewestLost(shard, { id }, id);
  }

  #onNewestLost(shard: number, evidence: object, text: string): void {
    if (this.#log.isDue(performance.now())) {
      this.options.log.warn({ shard, ...evidence }, 'Redis has lost stored pushes');
    }
    const always = Number.NEGATIVE_INFINITY;
    this.#add(shard, always, `counter:${text}`, always);
  }

  /** Never rejects. */
  async step(): Promise<void> {
    const { pendingReads } = this.options;
    if (this.#isStepping || this.#pending.size === 0 || pendingReads() > PENDING_READS_MAX) return;
    this.#isStepping = true;
    await Promise.all(this.#due(SHARDS_PER_STEP).map((shard) => this.#tell(shard)));
    this.#isStepping = false;
  }

  #due(countMax: number): number[] {
    const nowMs = performance.now();
    const due: number[] = [];
    for (const [shard, { isMarked, readAtMs }] of this.#pending) {
      if (due.length >= countMax) break;
      if (!isMarked || readAtMs <= nowMs) due.push(shard);
    }
    return due;
  }

  #add(shard: number, sinceMs: number, cause: string, readAtMs: number): void {
    const pending = this.#pending.get(shard);
    this.#pending.set(shard, {
      sinceMs: Math.min(sinceMs, pending?.sinceMs ?? Number.POSITIVE_INFINITY),
      noticedAtMs: performance.now(),
      cause,
      readAtMs: Math.min(readAtMs, pending?.readAtMs ?? Number.POSITIVE_INFINITY),
      isMarked: false,
    });
  }

  async #tell(shard: number): Promise<void> {
    const loss = this.#pending.get(shard)!;
    if (!loss.isMarked && !(await this.#mark(shard, loss))) {
      // Redis is away, or has no memory for the mark: tried again after the shards of other
      // masters.
      const newest = this.#pending.get(shard)!;
      this.#pending.delete(shard);
      this.#pending.set(shard, newest);
      return;
    }
    const isNewest = this.#pending.get(shard) === loss;
    const nowMs = performance.now();
    if (loss.readAtMs > nowMs) {
      if (isNewest) this.#pending.set(shard, { ...loss, isMarked: true });
      return;
    }
    if (isNewest) this.#pending.delete(shard);
    this.#readAtMs.set(shard, nowMs);
    this.options.onMarked(shard, loss.sinceMs);
  }

  /** Returns false if it could not be written. */
  async #mark(shard: number, { cause, noticedAtMs }: Loss): Promise<boolean> {
    const { link, names } = this.options;
    const noticedMsAgo = performance.now() - noticedAtMs;
    const written = await markLostHistory(link, names.channelOf(shard), cause, noticedMsAgo);
    if (written.type !== 'done') return false;
    if (written.reply) this.#marked.inc();
    return true;
  }
}
