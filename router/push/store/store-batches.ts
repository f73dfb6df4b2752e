/**
 * Stores the durable pushes of one turn of the event loop with few scripts: a call of a script
 * costs Redis a third of what a push costs it, and a router some promises. One script may touch all
 * shards of a standalone Redis, but only one of a Redis Cluster. Scripts run in the order of their
 * pushes.
 *
 * Bound: what the turn has taken, which are shard queries in flight. A batch is sent early when it
 * has `ITEMS_MAX` pushes or `BYTES_MAX` bytes, because a script blocks Redis for all its time.
 */
import {
  type InboxBounds,
  type Stored,
  type StorePush,
  storePushes,
} from '../../../common/cluster/inbox/push.js';
import { atTurnEnd } from '../../../common/process/time/turn-end.js';
import type { Outcome } from '../../../common/redis/execute.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { ITEMS_MAX, type ScriptLink, scopeOf } from '../../../common/redis/script.js';
import type { StoreOutcome } from './accept-level-writer.js';

const BYTES_MAX = 64 * 1024;

type OnStored = (outcome: StoreOutcome) => void;

interface Batch {
  readonly pushes: StorePush[];
  readonly onStored: OnStored[];
  bytes: number;
}

export class StoreBatches {
  /** By scope. */
  readonly #batches = new Map<string, Batch>();

  constructor(
    readonly link: ScriptLink & Pick<RedisLink, 'isCluster'>,
    readonly bounds: InboxBounds,
  ) {}

  /** Calls `onStored` once, later. With a callback, because each promise has a cost per push. */
  store(push: StorePush, onStored: OnStored): void {
    const scope = scopeOf(this.link, push.channel);
    const batch = this.#batches.get(scope) ?? this.#begin(scope);
    batch.pushes.push(push);
    batch.onStored.push(onStored);
    batch.bytes += push.envelope.length;
    if (batch.pushes.length >= ITEMS_MAX || batch.bytes >= BYTES_MAX) this.#send(scope, batch);
  }

  get areSent(): boolean {
    return this.#batches.size === 0;
  }

  /** To be called before another message is sent on the channel: those on it keep their order. */
  sendBefore(channel: string): void {
    const scope = scopeOf(this.link, channel);
    const batch = this.#batches.get(scope);
    if (batch?.pushes.some((push) => push.channel === channel)) this.#send(scope, batch);
  }

  #begin(scope: string): Batch {
    if (this.#batches.size === 0) {
      atTurnEnd(() => {
        for (const [each, batch] of this.#batches) this.#send(each, batch);
      });
    }
    const batch: Batch = { pushes: [], onStored: [], bytes: 0 };
    this.#batches.set(scope, batch);
    return batch;
  }

  #send(scope: string, { pushes, onStored }: Batch): void {
    this.#batches.delete(scope);
    void storePushes(this.link, pushes, this.bounds).then((outcomes) => {
      for (const [i, onOutcome] of onStored.entries()) onOutcome(storeOutcomeOf(outcomes[i]!));
    });
  }
}

function storeOutcomeOf(outcome: Outcome<Stored>): StoreOutcome {
  if (outcome.type !== 'done') return outcome;
  return { type: 'stored', stored: outcome.reply, isConfirmed: true };
}
