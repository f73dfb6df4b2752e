/** The operator API for revoked tokens. The list itself is in Redis, with that of blocks. */
import type { z } from 'zod';
import {
  addRevocation,
  REVOCATIONS_MAX,
  readBlocks,
  removeRevocation,
} from '../../../common/cluster/blocks.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import type { ScriptLink } from '../../../common/redis/script.js';
import { rejectUser } from '../../../common/wire/client-id.js';
import type { Operations } from '../../leadership/operations.js';
import type { revokeBody, unrevokeBody } from './requests.js';
import type { RevocationInfo, RevocationsResponse, UnrevokeResponse } from './responses.js';

export class RevocationsApi {
  constructor(
    readonly link: ScriptLink & Pick<RedisLink, 'names'>,
    readonly operations: Pick<Operations, 'rejectAsFollower' | 'recordAction'>,
  ) {}

  async list(): Promise<RevocationsResponse | Rejection> {
    const read = await readBlocks(this.link, '');
    if (read.type !== 'done') return rejection('REDIS_UNAVAILABLE', read.reason);
    const revocations = [...(read.reply.list?.revocations ?? [])];
    return { revocations: revocations.sort((a, b) => (a.user < b.user ? -1 : 1)) };
  }

  async revoke(
    { user, beforeMs, reason }: z.infer<typeof revokeBody>,
    actor: string,
  ): Promise<RevocationInfo | Rejection> {
    const rejected = this.#reject(user);
    if (rejected !== undefined) return rejected;
    const added = await addRevocation(this.link, user, beforeMs);
    if (added.type !== 'done') return rejection('REDIS_UNAVAILABLE', added.reason);
    if (added.reply === 'full') {
      const message = `the tokens of ${REVOCATIONS_MAX} users are revoked, the maximum; remove some`;
      return rejection('REVOCATIONS_FULL', message);
    }
    if (added.reply === 'future') {
      return rejection('REQUEST_MALFORMED', 'beforeMs is in the future by the clock of Redis');
    }
    const before = new Date(added.reply).toISOString();
    this.operations.recordAction('revoke', user, { actor, reason }, `before ${before}`);
    return { user, beforeMs: added.reply };
  }

  async unrevoke(
    { user, reason }: z.infer<typeof unrevokeBody>,
    actor: string,
  ): Promise<UnrevokeResponse | Rejection> {
    const rejected = this.#reject(user);
    if (rejected !== undefined) return rejected;
    const removed = await removeRevocation(this.link, user);
    if (removed.type !== 'done') return rejection('REDIS_UNAVAILABLE', removed.reason);
    if (removed.reply) this.operations.recordAction('unrevoke', user, { actor, reason });
    return { user, wasRevoked: removed.reply };
  }

  #reject(user: string): Rejection | undefined {
    return this.operations.rejectAsFollower() ?? (user === '' ? undefined : rejectUser(user));
  }
}
