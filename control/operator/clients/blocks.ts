/** The operator API for clients and users that may not connect. The list itself is in Redis. */
import type { z } from 'zod';
import { addBlock, BLOCKS_MAX, readBlocks, removeBlock } from '../../../common/cluster/blocks.js';
import { writeBlocked } from '../../../common/cluster/events/client-events.js';
import type { EventBounds } from '../../../common/cluster/events/event-stream.js';
import { shardOf } from '../../../common/cluster/shard.js';
import type { ShardNames } from '../../../common/cluster/shard-names.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import type { ScriptLink } from '../../../common/redis/script.js';
import { rejectClientId } from '../../../common/wire/client-id.js';
import type { Operations } from '../../leadership/operations.js';
import type { BlocksResponse, UnblockResponse } from '../operation-responses.js';
import type { blockBody, unblockBody } from '../request-bodies.js';

export class BlocksApi {
  constructor(
    readonly link: ScriptLink & Pick<RedisLink, 'names'>,
    readonly operations: Pick<Operations, 'rejectAsFollower' | 'recordAction'>,
    readonly names: ShardNames,
    /** Undefined: no events of clients are written. */
    readonly events: EventBounds | undefined,
  ) {}

  async list(): Promise<BlocksResponse | Rejection> {
    const read = await readBlocks(this.link, '');
    if (read.type !== 'done') return rejection('REDIS_UNAVAILABLE', read.reason);
    const blocks = [...(read.reply.list?.blocks ?? [])];
    return { blocks: blocks.sort((a, b) => (a.name < b.name ? -1 : 1)) };
  }

  async block(
    { name, forMs, reason }: z.infer<typeof blockBody>,
    actor: string,
  ): Promise<BlocksResponse['blocks'][number] | Rejection> {
    const rejected = this.operations.rejectAsFollower() ?? rejectClientId(name);
    if (rejected !== undefined) return rejected;
    const added = await addBlock(this.link, name, forMs);
    if (added.type !== 'done') return rejection('REDIS_UNAVAILABLE', added.reason);
    if (!added.reply) {
      return rejection('BLOCKS_FULL', `${BLOCKS_MAX} names are blocked, the maximum; unblock some`);
    }
    if (this.events !== undefined) {
      const channel = this.names.channelOf(shardOf(name, this.names.shardCount));
      const written = await writeBlocked(this.link, channel, name, forMs, this.events);
      // The operator calls again: a block can be repeated.
      if (written.type !== 'done') return rejection('REDIS_UNAVAILABLE', written.reason);
    }
    this.operations.recordAction('block', name, { actor, reason });
    return { name, remainingMs: forMs };
  }

  async unblock(
    { name, reason }: z.infer<typeof unblockBody>,
    actor: string,
  ): Promise<UnblockResponse | Rejection> {
    const rejected = this.operations.rejectAsFollower() ?? rejectClientId(name);
    if (rejected !== undefined) return rejected;
    const removed = await removeBlock(this.link, name);
    if (removed.type !== 'done') return rejection('REDIS_UNAVAILABLE', removed.reason);
    if (removed.reply) this.operations.recordAction('unblock', name, { actor, reason });
    return { name, wasBlocked: removed.reply };
  }
}
