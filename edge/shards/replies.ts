/**
 * Replies to shard queries, collected per reply channel and published once per turn of the event
 * loop: a thousand pushes that arrive in one read are answered with one publish.
 *
 * Bound: `REPLIES_PER_BATCH_MAX` per message; a full batch is published at once. A batch that Redis
 * rejects is dropped and counted: the router then reports UNKNOWN, which is the truth.
 */
import type { Counter } from 'prom-client';
import type { Metrics } from '../../common/process/metrics.js';
import { atTurnEnd } from '../../common/process/time/turn-end.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { sealReplies } from '../../common/wire/protobuf/reply-batch.js';
import type { Reply } from '../../proto/gen/longline/v1/envelope.js';

const REPLIES_PER_BATCH_MAX = 1_000;

export class Replies {
  readonly #pending = new Map<string, Reply[]>();
  readonly #dropped: Counter;

  constructor(
    readonly edgeId: string,
    readonly link: Pick<RedisLink, 'publish'>,
    metrics: Metrics,
  ) {
    this.#dropped = metrics.counter(
      'longline_edge_replies_dropped_total',
      'Replies to shard queries that Redis did not accept',
    );
  }

  add(replyChannel: string, reply: Reply): void {
    const batch = this.#pending.get(replyChannel);
    if (batch === undefined) {
      if (this.#pending.size === 0) atTurnEnd(() => this.#flush());
      this.#pending.set(replyChannel, [reply]);
    } else if (batch.push(reply) >= REPLIES_PER_BATCH_MAX) {
      this.#pending.set(replyChannel, []);
      void this.#send(replyChannel, batch);
    }
  }

  #flush(): void {
    for (const [channel, batch] of this.#pending) {
      if (batch.length > 0) void this.#send(channel, batch);
    }
    this.#pending.clear();
  }

  async #send(channel: string, replies: Reply[]): Promise<void> {
    const bytes = sealReplies({ edgeId: this.edgeId, replies });
    const result = await this.link.publish(channel, bytes);
    if (result.type !== 'published') this.#dropped.inc(replies.length);
  }
}
