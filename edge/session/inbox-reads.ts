/**
 * Reads inboxes, those of one turn of the event loop with few scripts: devices connect many at a
 * time, and most have an empty inbox, which is found faster than a script is called. One script may
 * read all inboxes of a standalone Redis, but only those of one shard of a Redis Cluster.
 *
 * Bound: the reads that `CatchUp` has under way.
 */
import {
  type InboxPage,
  type InboxRead,
  readInboxes,
} from '../../common/cluster/history/inbox-read.js';
import { atTurnEnd } from '../../common/process/time/turn-end.js';
import type { Outcome } from '../../common/redis/execute.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { ITEMS_MAX, type ScriptLink, scopeOf } from '../../common/redis/script.js';

type OnRead = (outcome: Outcome<InboxPage>) => void;

interface Batch {
  readonly reads: InboxRead[];
  readonly onRead: OnRead[];
}

export class InboxReads {
  /** By scope. */
  readonly #batches = new Map<string, Batch>();

  constructor(readonly link: ScriptLink & Pick<RedisLink, 'isCluster'>) {}

  /** Calls `onRead` once, later. With a callback, because each promise has a cost per connect. */
  read(read: InboxRead, onRead: OnRead): void {
    const scope = scopeOf(this.link, read.channel);
    const batch = this.#batches.get(scope) ?? this.#begin(scope);
    batch.reads.push(read);
    batch.onRead.push(onRead);
    if (batch.reads.length >= ITEMS_MAX) this.#send(scope, batch);
  }

  #begin(scope: string): Batch {
    if (this.#batches.size === 0) {
      atTurnEnd(() => {
        for (const [each, batch] of this.#batches) this.#send(each, batch);
      });
    }
    const batch: Batch = { reads: [], onRead: [] };
    this.#batches.set(scope, batch);
    return batch;
  }

  #send(scope: string, { reads, onRead }: Batch): void {
    this.#batches.delete(scope);
    void readInboxes(this.link, reads).then((outcomes) => {
      for (const [i, onOutcome] of onRead.entries()) onOutcome(outcomes[i]!);
    });
  }
}
