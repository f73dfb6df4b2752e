/**
 * Whether edges use the same Redis servers as this router. If an edge does not, pushes to its
 * clients are stored where it does not look: each is `STORED`, and none arrives.
 *
 * Every two seconds the router counts the subscribers of one shard of each edge. An owner without a
 * subscription uses another server, or is dead. After the router has connected to another server
 * than before, it counts more often until every edge was seen there at once: it has followed.
 */
import { type Assignment, ownerOf } from '../../common/cluster/assignment.js';
import {
  COUNT_INTERVAL_MS,
  type SubscriberCounts,
  ZEROS_MAX,
} from '../../common/cluster/presence/subscriber-counts.js';
import { ShardNames } from '../../common/cluster/shard-names.js';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';

export interface EdgePresenceOptions {
  readonly link: Pick<RedisLink, 'executeOn' | 'subscriber' | 'names' | 'masterCheck'>;
  readonly shardCount: number;
  readonly assignment: () => Assignment | undefined;
  readonly counts: SubscriberCounts;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** By master, then by edge: counts of 0 in a row. */
type Zeros = ReadonlyMap<string, ReadonlyMap<string, number>>;

const NAMED_MAX = 5;
const FOLLOW_INTERVAL_MS = 250;

export class EdgePresence {
  readonly #names: ShardNames;
  readonly #timers: readonly NodeJS.Timeout[];
  /** By master: run id of the server at which all edges were seen at once. */
  readonly #followed = new Map<string, string>();
  #zeros: Zeros = new Map();

  constructor(readonly options: EdgePresenceOptions) {
    const { link, shardCount, metrics } = options;
    this.#names = new ShardNames(link.names, shardCount);
    metrics.gauges(
      'longline_router_edges_unseen',
      'Edges that are not subscribed to shards that they own, at the Redis server that this router uses, by the address of the master',
      'master',
      () => Array.from(this.#zeros.keys(), (master) => [master, this.#unseen(master).length]),
    );
    this.#timers = [
      setInterval(() => void this.poll(), COUNT_INTERVAL_MS),
      setInterval(() => void this.follow(), FOLLOW_INTERVAL_MS),
    ];
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  /** Whether every edge that has shards uses the server to which this channel belongs now. */
  haveFollowed(channel: string): boolean {
    return this.#isFollowed(this.options.link.subscriber.masterOf(channel) ?? '');
  }

  reasons(): string[] {
    const { masterCheck } = this.options.link;
    return Array.from(this.#zeros.keys()).flatMap((master) => {
      const unseen = this.#unseen(master);
      if (unseen.length === 0) return [];
      const more = unseen.length > NAMED_MAX ? ` and ${unseen.length - NAMED_MAX} more` : '';
      return [
        `edges ${unseen.slice(0, NAMED_MAX).join(', ')}${more} do not use the same server as this ` +
          `router at Redis ${master} (run id ${masterCheck.runIdAt(master)}), or are gone: ` +
          'pushes to their clients wait in the inboxes',
      ];
    });
  }

  async poll(): Promise<void> {
    const before = this.#zeros;
    const counted = await Promise.all(
      Array.from(this.#sample(), async ([master, channels]) => {
        const edgeIds = [...channels.keys()];
        const counts = await this.#count(master, channels);
        const former = before.get(master);
        const zeros = edgeIds.map((edgeId, i) => {
          const zerosBefore = former?.get(edgeId) ?? 0;
          if (counts === undefined) return [edgeId, zerosBefore] as const;
          return [edgeId, counts[i]! > 0 ? 0 : zerosBefore + 1] as const;
        });
        return [master, new Map(zeros)] as const;
      }),
    );
    this.#zeros = new Map(counted);
    this.#logChanges(before);
  }

  /** Counts at those masters whose edges have not followed yet. */
  async follow(): Promise<void> {
    const { link } = this.options;
    if (link.subscriber.masters().every((master) => this.#isFollowed(master))) return;
    for (const [master, channels] of this.#sample()) {
      if (!this.#isFollowed(master)) await this.#count(master, channels);
    }
  }

  #isFollowed(master: string): boolean {
    const { link, counts } = this.options;
    if (counts.isForbidden) return true;
    const isOne = link.masterCheck.isOneServer(master);
    return isOne && this.#followed.get(master) === link.masterCheck.runIdAt(master);
  }

  /** Subscribers of a channel of each edge. */
  async #count(
    master: string,
    channels: ReadonlyMap<string, string>,
  ): Promise<number[] | undefined> {
    const { link, assignment, counts } = this.options;
    const runId = link.masterCheck.runIdAt(master);
    const read = await counts.read(master, [...channels.values()]);
    const areAllSeen = assignment() !== undefined && read?.every((count) => count > 0);
    const isSame =
      link.masterCheck.isOneServer(master) && link.masterCheck.runIdAt(master) === runId;
    if (areAllSeen && isSame) this.#followed.set(master, runId);
    return read;
  }

  /** By master, then by edge: the channel of a shard, another one each time. */
  #sample(): Map<string, Map<string, string>> {
    const { link, assignment, shardCount } = this.options;
    const current = assignment();
    const sample = new Map<string, Map<string, string>>(
      link.subscriber.masters().map((master) => [master, new Map()]),
    );
    if (current === undefined) return sample;
    // The receiving edge is subscribed as well.
    const moving = new Set(current.moves.map(({ shard }) => shard));
    const offset = Math.floor(Math.random() * shardCount);
    let missing = sample.size * current.edges.length;
    for (let i = 0; i < shardCount && missing > 0; i++) {
      const shard = (offset + i) % shardCount;
      const owner = ownerOf(current, shard);
      if (owner === undefined || moving.has(shard)) continue;
      const channel = this.#names.channelOf(shard);
      const ofMaster = sample.get(link.subscriber.masterOf(channel) ?? '');
      if (ofMaster === undefined || ofMaster.has(owner.id)) continue;
      ofMaster.set(owner.id, channel);
      missing--;
    }
    return sample;
  }

  #logChanges(before: Zeros): void {
    for (const [master, zeros] of this.#zeros) {
      const wasUnseen = (edgeId: string) => (before.get(master)?.get(edgeId) ?? 0) >= ZEROS_MAX;
      const lost: string[] = [];
      const found: string[] = [];
      for (const [edgeId, now] of zeros) {
        if (now >= ZEROS_MAX && !wasUnseen(edgeId)) lost.push(edgeId);
        else if (now === 0 && wasUnseen(edgeId)) found.push(edgeId);
      }
      this.#logChange(master, lost, found);
    }
  }

  #logChange(master: string, lost: readonly string[], found: readonly string[]): void {
    const { link, log } = this.options;
    const context = { redis: master, runId: link.masterCheck.runIdAt(master) };
    if (lost.length > 0) {
      log.warn(
        { ...context, edges: lost.slice(0, NAMED_MAX), count: lost.length },
        'edges do not use this Redis server, or are gone: pushes to their clients wait in the inboxes',
      );
      // Perhaps the address leads to another server by now.
      void link.masterCheck.check(master);
    }
    if (found.length > 0) {
      log.info({ ...context, edges: found.slice(0, NAMED_MAX) }, 'edges use this Redis server');
    }
  }

  #unseen(master: string): string[] {
    return Array.from(this.#zeros.get(master) ?? [])
      .filter(([, zeros]) => zeros >= ZEROS_MAX)
      .map(([edgeId]) => edgeId);
  }
}
