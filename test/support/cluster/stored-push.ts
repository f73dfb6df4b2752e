/** Durable pushes for the scripts of the inbox. */
import type { StorePush } from '../../../common/cluster/inbox/push.js';
import { inboxKey } from '../../../common/cluster/inbox.js';
import { auditShards } from '../../../common/cluster/ledger/audit.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { sealPush } from '../../../common/wire/push-envelope.js';
import { eventually } from '../eventually.js';

/** Channel of the shard of these pushes. */
export const CHANNEL = 'll:{7}';

/** A push of one byte to `alice`, except for the changes. */
export function pushOf(changes: Partial<StorePush> = {}): StorePush {
  const push = {
    channel: CHANNEL,
    clientId: 'alice',
    payload: Buffer.from('p'),
    contentType: '',
    ttlMs: 60_000,
    idempotencyKey: '',
    ...changes,
  };
  return {
    ...push,
    envelope: sealPush(1, 'lr:{7}:p', push.clientId, { ...push, whenSlow: 0 }),
  };
}

/** Waits until the audit has removed the inbox, all of whose pushes expire soon. */
export async function untilExpired(link: RedisLink, clientId = 'alice'): Promise<void> {
  await eventually(async () => {
    await auditShards(link, [CHANNEL], [false], [false], false);
    return (await link.commands.exists(inboxKey(CHANNEL, clientId))) === 0;
  });
}
