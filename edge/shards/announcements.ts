/**
 * Publishes which connections this edge has accepted, on the channels of their shards. Announcements
 * are collected and published once per turn of the event loop, in one envelope per shard.
 */
import type { ShardNames } from '../../common/cluster/shard-names.js';
import { atTurnEnd } from '../../common/process/time/turn-end.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { seal } from '../../common/wire/sealed-message.js';
import { type Announcement, ShardEnvelope } from '../../proto/gen/longline/v1/envelope.js';

/** Keeps one envelope well below a megabyte. */
const ANNOUNCEMENTS_PER_ENVELOPE_MAX = 1_000;

export class Announcements {
  /** Published at the end of this turn, by shard. */
  readonly #pending = new Map<number, Announcement[]>();

  constructor(
    readonly link: Pick<RedisLink, 'publish'>,
    readonly edgeIncarnation: string,
    readonly names: ShardNames,
  ) {}

  add(shard: number, announcement: Announcement): void {
    if (this.#pending.size === 0) atTurnEnd(() => this.#flush());
    const pending = this.#pending.get(shard);
    if (pending === undefined) this.#pending.set(shard, [announcement]);
    else pending.push(announcement);
  }

  /** Publishes an empty envelope: other edges ignore it, and this edge receives it back. */
  probe(shard: number): void {
    this.#publish(shard, []);
  }

  #flush(): void {
    for (const [shard, announcements] of this.#pending) {
      while (announcements.length > ANNOUNCEMENTS_PER_ENVELOPE_MAX) {
        this.#publish(shard, announcements.splice(0, ANNOUNCEMENTS_PER_ENVELOPE_MAX));
      }
      this.#publish(shard, announcements);
    }
    this.#pending.clear();
  }

  #publish(shard: number, announcements: Announcement[]): void {
    const { edgeIncarnation } = this;
    const envelope: ShardEnvelope = {
      queryId: 0,
      replyChannel: '',
      clientId: '',
      id: '',
      seq: '',
      body: { $case: 'announce', value: { edgeIncarnation, announcements } },
    };
    const bytes = seal(ShardEnvelope.encode(envelope).finish());
    // The result is ignored: only the envelope's return over the channel proves that it arrived.
    void this.link.publish(this.names.channelOf(shard), bytes);
  }
}
