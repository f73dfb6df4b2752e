/**
 * Counts the subscribers of channels at one Redis server, over the connection to it that carries
 * the pushes. So a process learns whether others use the same server as itself. A probe that it
 * sends to itself cannot say that: it proves only that its own connections lead to one server.
 */
import type { Logger } from '../../process/log.js';
import type { RedisLink } from '../../redis/redis-link.js';

export class SubscriberCounts {
  #isForbidden = false;

  constructor(
    readonly link: Pick<RedisLink, 'executeOn'>,
    readonly log: Logger,
  ) {}

  /** The server does not permit the command, so nothing is known. */
  get isForbidden(): boolean {
    return this.#isForbidden;
  }

  /** In the order of `channels`; undefined: the server has not answered, or forbids the command. */
  async read(master: string, channels: readonly string[]): Promise<number[] | undefined> {
    if (this.#isForbidden) return undefined;
    const outcome = await this.link.executeOn<(string | number)[]>(master, 'pubsub', [
      'shardnumsub',
      ...channels,
    ]);
    if (outcome?.type === 'done') return channels.map((_, i) => Number(outcome.reply[2 * i + 1]));
    if (outcome?.reason.startsWith('NOPERM')) {
      this.#isForbidden = true;
      const advice = 'whether routers and edges use the same Redis server is not checked';
      this.log.warn({ redis: master, reason: outcome.reason }, advice);
    }
    return undefined;
  }
}

/** How often the counts are read. */
export const COUNT_INTERVAL_MS = 2_000;
/** After this many counts of 0 in a row, the cause is not a reconnect or a move. */
export const ZEROS_MAX = 3;
