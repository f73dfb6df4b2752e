/**
 * Notices that Redis has lost pushes which this router has stored: a replica without the newest
 * writes was promoted, or a server came back with less than it had. Edges notice what they have
 * received (edge/shards/delivery.ts), but a fault may take them together with Redis. The shard gets
 * a mark, from which later connects learn of the loss, and its edges are notified.
 *
 * Whenever a master has changed, Redis is asked about the newest push of each shard.
 */
import type { Counter } from 'prom-client';
import type { KnownPush } from '../../../common/cluster/history/known-pushes.js';
import { markLostHistory } from '../../../common/cluster/history/lost-history.js';
import { MasterChanges } from '../../../common/cluster/history/master-changes.js';
import { NewestPushes } from '../../../common/cluster/history/newest-pushes.js';
import type { ShardQueries } from '../../../common/cluster/shard-query.js';
import { type Logger, LogInterval } from '../../../common/process/log.js';
import type { Metrics } from '../../../common/process/metrics.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';

const STEP_MS = 100;
const TOLD_AT_ONCE = 64;

interface Loss extends KnownPush {
  /** In ms of the monotonic clock. */
  readonly noticedAtMs: number;
}

export interface StoredPushesOptions {
  readonly link: RedisLink;
  readonly shardQueries: Pick<ShardQueries, 'query'>;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export class StoredPushes {
  readonly #newest: NewestPushes;
  readonly #masters: MasterChanges;
  /** By channel of the shard; at most one each. */
  readonly #losses = new Map<string, Loss>();
  readonly #told: Counter;
  readonly #log = new LogInterval();
  readonly #timer: NodeJS.Timeout;
  #isTelling = false;

  constructor(readonly options: StoredPushesOptions) {
    const { link, metrics } = options;
    this.#masters = new MasterChanges(link);
    this.#newest = new NewestPushes({ link, onLost: (push) => this.#onLost(push) });
    link.idFloor.newestIdMs = () => this.#newest.newestMs();
    this.#told = metrics.counter(
      'longline_router_history_losses_total',
      'Losses of stored pushes in Redis that this router has noticed and told to edges, by shard',
    );
    this.#timer = setInterval(() => this.#step(), STEP_MS);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** To be called with each durable push that Redis has stored. */
  onStored(channel: string, clientId: string, id: string): void {
    this.#newest.onPush(channel, clientId, id);
  }

  #step(): void {
    if (this.#masters.take()) this.#newest.doubtAll();
    void this.#newest.step();
    void this.#tell();
  }

  #onLost(push: KnownPush): void {
    const nowMs = performance.now();
    const { channel, id } = push;
    if (this.#log.isDue(nowMs)) {
      this.options.log.warn({ channel, id }, 'Redis has lost stored pushes');
    }
    this.#losses.set(channel, { ...push, noticedAtMs: nowMs });
  }

  /** Never rejects. */
  async #tell(): Promise<void> {
    if (this.#isTelling || this.#losses.size === 0) return;
    this.#isTelling = true;
    const told = [...this.#losses.values()].slice(0, TOLD_AT_ONCE);
    await Promise.all(told.map((loss) => this.#tellOne(loss)));
    this.#isTelling = false;
  }

  async #tellOne(loss: Loss): Promise<void> {
    const { link, shardQueries } = this.options;
    const { channel, clientId, id, noticedAtMs } = loss;
    this.#losses.delete(channel);
    const noticedMsAgo = performance.now() - noticedAtMs;
    // The cause is that of an edge which notices the same.
    const marked = await markLostHistory(link, channel, `counter:${id}`, noticedMsAgo);
    const body = { $case: 'lostHistory', value: { id } } as const;
    const sent =
      marked.type === 'done' ? await shardQueries.query(clientId, body, STEP_MS, null) : undefined;
    if (sent !== undefined && !('code' in sent)) this.#told.inc();
    // Redis does not answer: after the others, unless another loss was noticed meanwhile.
    else if (!this.#losses.has(channel)) this.#losses.set(channel, loss);
  }
}
