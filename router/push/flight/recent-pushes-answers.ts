/**
 * Answers control, which asks all routers about the pushes to a client. A router that cannot answer
 * counts as silent there, so nothing is to be done about a failure here.
 */
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { seal, unseal } from '../../../common/wire/sealed-message.js';
import { PrivateEnvelope, ShardEnvelope } from '../../../proto/gen/longline/v1/envelope.js';
import type { RecentPushes } from './recent-pushes.js';

/** Returns the handler of messages on the channel of all routers. */
export function answersAbout(
  recent: RecentPushes,
  routerId: string,
  link: Pick<RedisLink, 'publish'>,
): (message: Buffer) => void {
  return (message) => {
    const asked = decode(message);
    if (asked?.body?.$case !== 'recentPushes') return;
    const { queryId, replyChannel, clientId } = asked;
    const value = { routerId, ...recent.of(clientId, performance.now()) };
    const body = { $case: 'recentPushes', value } as const;
    const reply = {
      ...{ queryId, owner: false, others: 0, uninvolved: true, otherEdges: [], times: undefined },
      body,
    };
    const envelope: PrivateEnvelope = {
      body: { $case: 'replies', value: { edgeId: routerId, replies: [reply] } },
    };
    void link.publish(replyChannel, seal(PrivateEnvelope.encode(envelope).finish()));
  };
}

function decode(message: Buffer): ShardEnvelope | undefined {
  const unsealed = unseal(message);
  if (unsealed.type !== 'intact') return undefined;
  try {
    return ShardEnvelope.decode(unsealed.content);
  } catch {
    return undefined;
  }
}
