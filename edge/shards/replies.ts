/**
 * Answers on their way to whoever asked, collected per shardQueries and sent once per turn of the event
 * loop: a thousand pushes that arrive in one read are answered with one publish.
 *
 * Bound: `REPLIES_PER_BATCH_MAX` per message; a full batch is sent at once. A batch that Redis
 * rejects is dropped and counted: the shardQueries then says UNKNOWN, which is the truth.
 */
import type { Counter } from 'prom-client';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { PrivateEnvelope, type Reply } from '../../proto/gen/longline/v1/envelope.js';

const REPLIES_PER_BATCH_MAX = 1_000;

export class Replies {
  readonly #pending = new Map<string, Reply[]>();

  constructor(
    readonly edgeId: string,
    readonly link: Pick<RedisLink, 'publish'>,
    readonly dropped: Counter,
  ) {}

  add(replyChannel: string, reply: Reply): void {
    const batch = this.#pending.get(replyChannel);
    if (batch === undefined) {
      if (this.#pending.size === 0) setImmediate(() => this.#flush());
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
    const envelope: PrivateEnvelope = {
      body: { $case: 'replies', value: { edgeId: this.edgeId, replies } },
    };
    const bytes = Buffer.from(PrivateEnvelope.encode(envelope).finish());
    const result = await this.link.publish(channel, bytes);
    if (result.type !== 'published') this.dropped.inc(replies.length);
  }
}
