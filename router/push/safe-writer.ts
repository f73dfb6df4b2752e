/**
 * Stores pushes that must survive more than "Redis has it".
 *
 * Both further levels are facts about a connection: WAIT tells how many replicas have received what
 * this connection has written, and a server's settings are only known for certain of the server at
 * its other end. So each master gets a connection of its own for such pushes. WAIT blocks it, so
 * pushes that come meanwhile form the next batch and share the next WAIT.
 *
 * The queue is bounded by the questions that a router lets be in flight: each push here is one.
 */
import type { Redis } from 'ioredis';
import {
  type InboxBounds,
  type Stored,
  type StorePush,
  storePush,
} from '../../common/cluster/inbox.js';
import { shardChannel } from '../../common/cluster/shard.js';
import { execute, type Outcome } from '../../common/redis/execute.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { AcceptLevel } from '../../proto/gen/longline/v1/push.js';
import { notFsyncedBecause } from './durability.js';

/** What one push has to be safe against. */
export interface Safety {
  readonly level: AcceptLevel.ACCEPT_LEVEL_FSYNCED | AcceptLevel.ACCEPT_LEVEL_REPLICATED;
  /** With REPLICATED: how many replicas must have it. */
  readonly replicas: number;
}

export type SafelyStored =
  /** `isSafe`: the level was confirmed in time; else it is only known to be in Redis. */
  | { readonly type: 'stored'; readonly stored: Stored; readonly isSafe: boolean }
  /** This server cannot give the level; nothing was stored. */
  | { readonly type: 'impossible'; readonly reason: string }
  | Exclude<Outcome<never>, { type: 'done' }>;

interface Waiting {
  readonly push: StorePush;
  readonly safety: Safety;
  readonly settle: (result: SafelyStored) => void;
}

const BATCH_MAX = 512;
/** How long replicas get to confirm. Replication on a healthy network takes milliseconds. */
const WAIT_MS = 500;
const CONNECT_MS_MAX = 2_000;

export class SafeWriters {
  /** By the master's address. */
  readonly #writers = new Map<string, SafeWriter>();

  constructor(
    readonly link: Pick<RedisLink, 'connectTo' | 'subscriber'>,
    readonly bounds: InboxBounds,
  ) {}

  /** Never rejects. */
  async store(push: StorePush, safety: Safety): Promise<SafelyStored> {
    const address = this.link.subscriber.masterOf(shardChannel(push.tag));
    if (address === undefined) return { type: 'rejected', reason: 'the shard has no master now' };
    this.#forgetFormerMasters();
    let writer = this.#writers.get(address);
    if (writer === undefined) {
      writer = new SafeWriter(this.link.connectTo(address), this.bounds);
      this.#writers.set(address, writer);
    }
    return writer.store(push, safety);
  }

  #forgetFormerMasters(): void {
    const masters = this.link.subscriber.masters();
    for (const [address, writer] of this.#writers) {
      if (masters.includes(address)) continue;
      writer.redis.disconnect();
      this.#writers.delete(address);
    }
  }

  close(): void {
    for (const writer of this.#writers.values()) writer.redis.disconnect();
  }
}

class SafeWriter {
  #waiting: Waiting[] = [];
  #isBusy = false;

  constructor(
    readonly redis: Redis,
    readonly bounds: InboxBounds,
  ) {}

  store(push: StorePush, safety: Safety): Promise<SafelyStored> {
    return new Promise((settle) => {
      this.#waiting.push({ push, safety, settle });
      if (!this.#isBusy) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#isBusy = true;
    await untilReady(this.redis);
    while (this.#waiting.length > 0) await this.#write(this.#waiting.splice(0, BATCH_MAX));
    this.#isBusy = false;
  }

  async #write(batch: Waiting[]): Promise<void> {
    const isFsynced = ({ safety }: Waiting) => safety.level === AcceptLevel.ACCEPT_LEVEL_FSYNCED;
    const reason = batch.some(isFsynced) ? await notFsyncedBecause(this.redis) : undefined;
    const possible = reason === undefined ? batch : batch.filter((each) => !isFsynced(each));
    if (reason !== undefined) {
      for (const each of batch.filter(isFsynced)) each.settle({ type: 'impossible', reason });
    }
    const connection = {
      execute: <Reply>(name: string, args: readonly (string | number | Buffer)[]) =>
        execute<Reply>(this.redis, name, args),
    };
    const outcomes = await Promise.all(
      possible.map(({ push }) => storePush(connection, push, this.bounds)),
    );
    const replicas = await this.#countReplicas(possible);
    for (const [i, { safety, settle }] of possible.entries()) {
      const outcome = outcomes[i]!;
      if (outcome.type !== 'done') settle(outcome);
      else {
        const isSafe =
          safety.level === AcceptLevel.ACCEPT_LEVEL_FSYNCED || replicas >= safety.replicas;
        settle({ type: 'stored', stored: outcome.reply, isSafe });
      }
    }
  }

  /** How many replicas have all that this connection has written so far. */
  async #countReplicas(batch: readonly Waiting[]): Promise<number> {
    const wanted = batch.flatMap(({ safety }) =>
      safety.level === AcceptLevel.ACCEPT_LEVEL_REPLICATED ? [safety.replicas] : [],
    );
    if (wanted.length === 0) return 0;
    // The number counts, also when WAIT gave up waiting.
    const waited = await execute<number>(this.redis, 'wait', [Math.max(...wanted), WAIT_MS]);
    return waited.type === 'done' ? waited.reply : 0;
  }
}

/** Resolves when the connection is ready, or has not become so in time: then commands say so. */
function untilReady(redis: Redis): Promise<void> {
  if (redis.status === 'ready') return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, CONNECT_MS_MAX);
    redis.once('ready', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
