/**
 * Stores pushes at an accept level beyond "Redis has it".
 *
 * Both levels are facts about one connection: WAIT counts the replicas that have received what this
 * connection has written, and the settings of a server are certain only of the server at the other
 * end. So these pushes use a connection of their own to each master. WAIT blocks it: pushes that
 * arrive meanwhile form the next batch and share the next WAIT.
 *
 * The queue is bounded by the router's shard queries in flight: each push here is one of them, and
 * is dropped when its query has timed out before it was written.
 */
import type { Redis } from 'ioredis';
import {
  type InboxBounds,
  type Stored,
  type StorePush,
  storePush,
} from '../../../common/cluster/inbox/push.js';
import { execute, type Outcome } from '../../../common/redis/execute.js';
import type { IdFloor } from '../../../common/redis/identity/id-floor.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { AcceptLevel } from '../../../proto/gen/longline/v1/push.js';
import { notFsyncedReason } from './fsync-check.js';

/** The accept level that one push requires. */
export interface RequiredLevel {
  readonly level: AcceptLevel.ACCEPT_LEVEL_FSYNCED | AcceptLevel.ACCEPT_LEVEL_REPLICATED;
  /** Replicas that must confirm, with REPLICATED. */
  readonly replicas: number;
}

export type StoreOutcome =
  /** `isConfirmed`: the level was confirmed in time; else the push is only known to be in Redis. */
  | { readonly type: 'stored'; readonly stored: Stored; readonly isConfirmed: boolean }
  /** The server's settings do not permit the level; nothing was stored. */
  | { readonly type: 'unavailable'; readonly reason: string }
  | Exclude<Outcome<never>, { type: 'done' }>;

interface Queued {
  readonly push: StorePush;
  readonly required: RequiredLevel;
  /** End of the caller's wait, in ms of the monotonic clock. */
  readonly untilMs: number;
  readonly resolve: (outcome: StoreOutcome) => void;
}

const BATCH_MAX = 512;
/** Timeout of WAIT, in milliseconds. Replication on a healthy network takes a few. */
const WAIT_MS = 500;
const CONNECT_TIMEOUT_MS = 2_000;

/** One writer per master. */
export class AcceptLevelWriters {
  /** By address of the master. */
  readonly #writers = new Map<string, AcceptLevelWriter>();

  constructor(
    readonly link: Pick<RedisLink, 'connectTo' | 'subscriber' | 'idFloor'>,
    readonly bounds: InboxBounds,
  ) {}

  /**
   * Never rejects.
   * @param untilMs the push is not stored later than this, in ms of the monotonic clock
   */
  async store(push: StorePush, required: RequiredLevel, untilMs: number): Promise<StoreOutcome> {
    const address = this.link.subscriber.masterOf(push.channel);
    if (address === undefined) return { type: 'rejected', reason: 'the shard has no master now' };
    this.#closeFormerMasters();
    let writer = this.#writers.get(address);
    if (writer === undefined) {
      writer = new AcceptLevelWriter(this.link.connectTo(address), this.link.idFloor, this.bounds);
      this.#writers.set(address, writer);
    }
    return writer.store(push, required, untilMs);
  }

  #closeFormerMasters(): void {
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

class AcceptLevelWriter {
  #queue: Queued[] = [];
  #isWriting = false;

  constructor(
    readonly redis: Redis,
    readonly idFloor: IdFloor,
    readonly bounds: InboxBounds,
  ) {}

  store(push: StorePush, required: RequiredLevel, untilMs: number): Promise<StoreOutcome> {
    return new Promise((resolve) => {
      this.#queue.push({ push, required, untilMs, resolve });
      if (!this.#isWriting) void this.#writeQueue();
    });
  }

  async #writeQueue(): Promise<void> {
    this.#isWriting = true;
    await untilReady(this.redis);
    while (this.#queue.length > 0) {
      this.#dropLate(performance.now());
      await this.#writeBatch(this.#queue.splice(0, BATCH_MAX));
    }
    this.#isWriting = false;
  }

  #dropLate(nowMs: number): void {
    const late = this.#queue.filter(({ untilMs }) => untilMs < nowMs);
    if (late.length === 0) return;
    this.#queue = this.#queue.filter(({ untilMs }) => untilMs >= nowMs);
    const reason = 'earlier pushes wait for replicas for too long; the push was not stored';
    for (const { resolve } of late) resolve({ type: 'rejected', reason });
  }

  async #writeBatch(batch: Queued[]): Promise<void> {
    const isFsynced = ({ required }: Queued) => required.level === AcceptLevel.ACCEPT_LEVEL_FSYNCED;
    const reason = batch.some(isFsynced) ? await notFsyncedReason(this.redis) : undefined;
    const possible = reason === undefined ? batch : batch.filter((each) => !isFsynced(each));
    if (reason !== undefined) {
      for (const each of batch.filter(isFsynced)) each.resolve({ type: 'unavailable', reason });
    }
    const connection = {
      execute: <Reply>(name: string, args: readonly (string | number | Buffer)[]) =>
        execute<Reply>(this.redis, name, args),
      idFloor: this.idFloor,
    };
    const outcomes = await Promise.all(
      possible.map(({ push }) => storePush(connection, push, this.bounds)),
    );
    const replicas = await this.#countReplicas(possible);
    for (const [i, { required, resolve }] of possible.entries()) {
      const outcome = outcomes[i]!;
      if (outcome.type !== 'done') resolve(outcome);
      else {
        const isConfirmed =
          required.level === AcceptLevel.ACCEPT_LEVEL_FSYNCED || replicas >= required.replicas;
        resolve({ type: 'stored', stored: outcome.reply, isConfirmed });
      }
    }
  }

  /** Counts the replicas that have everything that this connection has written so far. */
  async #countReplicas(batch: readonly Queued[]): Promise<number> {
    const required = batch.flatMap(({ required: { level, replicas } }) =>
      level === AcceptLevel.ACCEPT_LEVEL_REPLICATED ? [replicas] : [],
    );
    if (required.length === 0) return 0;
    // WAIT returns the number also when it has timed out.
    const waited = await execute<number>(this.redis, 'wait', [Math.max(...required), WAIT_MS]);
    return waited.type === 'done' ? waited.reply : 0;
  }
}

/** Resolves when the connection is ready or has timed out; in the latter case commands fail. */
function untilReady(redis: Redis): Promise<void> {
  if (redis.status === 'ready') return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, CONNECT_TIMEOUT_MS);
    redis.once('ready', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
