/**
 * Whether routers use the same Redis servers as this edge. An edge that stays with a former master,
 * or that reaches another server by the same name, receives no pushes, and nothing else shows that:
 * its commands succeed and its own probes return.
 */
import { RoutersChannels } from '../../common/cluster/presence/routers-channels.js';
import {
  COUNT_INTERVAL_MS,
  SubscriberCounts,
  ZEROS_MAX,
} from '../../common/cluster/presence/subscriber-counts.js';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';

interface Counted {
  /** Routers that are subscribed. */
  routers: number;
  zeros: number;
}

export interface RouterPresenceOptions {
  readonly link: Pick<RedisLink, 'executeOn' | 'subscriber' | 'names' | 'masterCheck'>;
  readonly shardCount: number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export class RouterPresence {
  readonly #counts: SubscriberCounts;
  readonly #channels: RoutersChannels;
  /** By master. */
  readonly #counted = new Map<string, Counted>();
  readonly #timer: NodeJS.Timeout;

  constructor(readonly options: RouterPresenceOptions) {
    const { link, shardCount, log, metrics } = options;
    this.#counts = new SubscriberCounts(link, log);
    this.#channels = new RoutersChannels(link, shardCount);
    metrics.gauges(
      'longline_edge_routers_seen',
      'Routers that use the same Redis server as this edge, by the address of the master',
      'master',
      () => Array.from(this.#counted, ([master, { routers }]) => [master, routers]),
    );
    this.#timer = setInterval(() => void this.poll(), COUNT_INTERVAL_MS);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Masters that no router uses. */
  deserted(): string[] {
    return [...this.#counted].flatMap(([master, { zeros }]) =>
      zeros >= ZEROS_MAX ? [master] : [],
    );
  }

  /** A router uses one of the masters at least. */
  areSeen(): boolean {
    return [...this.#counted.values()].some(({ routers }) => routers > 0);
  }

  reasons(): string[] {
    const { masterCheck } = this.options.link;
    return this.deserted().map(
      (master) =>
        `no router uses the same server as this edge at Redis ${master} ` +
        `(run id ${masterCheck.runIdAt(master)}): no push arrives through it`,
    );
  }

  async poll(): Promise<void> {
    const channels = this.#channels.byMaster();
    for (const master of this.#counted.keys()) {
      if (!channels.has(master)) this.#counted.delete(master);
    }
    await Promise.all(Array.from(channels, (entry) => this.#count(...entry)));
  }

  async #count(master: string, channel: string): Promise<void> {
    const counts = await this.#counts.read(master, [channel]);
    if (counts === undefined) return;
    const [routers] = counts as [number];
    const former = this.#counted.get(master) ?? { routers: 0, zeros: 0 };
    const zeros = routers > 0 ? 0 : former.zeros + 1;
    this.#counted.set(master, { routers, zeros });
    this.#logChange(master, former.zeros, zeros);
  }

  #logChange(master: string, before: number, now: number): void {
    const { link, log } = this.options;
    const context = { redis: master, runId: link.masterCheck.runIdAt(master) };
    if (now === ZEROS_MAX) {
      log.warn(context, 'no router uses this Redis server: no push arrives through it');
      // Perhaps the address leads to another server by now.
      void link.masterCheck.check(master);
    } else if (now === 0 && before >= ZEROS_MAX) {
      log.info(context, 'a router uses this Redis server');
    }
  }
}
