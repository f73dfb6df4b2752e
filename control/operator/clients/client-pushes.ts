/** The newest pushes to a client and their verdicts, which the routers remember for a while. */
import { z } from 'zod';
import type { RoutersChannels } from '../../../common/cluster/presence/routers-channels.js';
import type { ShardQueries } from '../../../common/cluster/shard-query.js';
import { flightRecord, flightRecordOf } from '../../../common/http/flight-steps.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { RecentPush } from '../../../proto/gen/longline/v1/envelope.js';
import { AcceptLevel, Verdict } from '../../../proto/gen/longline/v1/push.js';
import { count } from '../cluster-responses.js';

const ANSWER_MS_MAX = 1_000;

export const clientPush = z.object({
  routerId: z.string(),
  verdict: z.string().describe('What became of the push, such as `WRITTEN`.'),
  acceptLevel: z.string().nullable().describe('Such as `ACCEPTED`. Null: it was not stored.'),
  messageId: z
    .string()
    .nullable()
    .describe('Null: the push is live-only, or Redis did not reply in time.'),
  payloadBytes: count,
  totalMs: z.number().min(0).describe('Milliseconds from the request to the verdict.'),
  ageMs: count.describe('Milliseconds since the verdict.'),
  flightRecord,
});

export const clientPushesResponse = z.object({
  clientId: z.string(),
  pushes: z
    .array(clientPush)
    .describe(
      'The newest first; of each router at most 50. Rejected pushes are not among them, nor those that ' +
        'share a message with pushes to other clients: of groups, broadcasts, and live-only ones of PushMany.',
    ),
  rememberedMs: count
    .nullable()
    .describe(
      'All such pushes of the last so many milliseconds are remembered. Null: no router has answered.',
    ),
  silentRouters: count.describe('Routers that did not answer in time: their pushes are missing.'),
});

export type ClientPushInfo = z.infer<typeof clientPush>;
export type ClientPushesResponse = z.infer<typeof clientPushesResponse>;

export class ClientPushes {
  constructor(
    readonly shardQueries: Pick<ShardQueries, 'channelOf' | 'queryRouters'>,
    readonly routers: Pick<RoutersChannels, 'nextTo'>,
  ) {}

  async list(clientId: string): Promise<ClientPushesResponse | Rejection> {
    const channel = this.routers.nextTo(this.shardQueries.channelOf(clientId));
    if (channel === undefined) return unavailable('the master of the shard is not known now');
    const body = { $case: 'recentPushes', value: {} } as const;
    const asked = await this.shardQueries.queryRouters(channel, clientId, body, ANSWER_MS_MAX);
    if ('code' in asked) return asked;
    const { receivers } = asked.waits;
    if (receivers === undefined) return unavailable('Redis did not answer in time');
    const replies = asked.bodies.flatMap((reply) =>
      reply.$case === 'recentPushes' ? [reply.value] : [],
    );
    const pushes = replies.flatMap(({ routerId, pushes: found }) =>
      found.map((push) => describe(routerId, push)),
    );
    return {
      clientId,
      pushes: pushes.sort((a, b) => a.ageMs - b.ageMs),
      rememberedMs:
        replies.length === 0 ? null : Math.min(...replies.map(({ rememberedMs }) => rememberedMs)),
      silentRouters: Math.max(0, receivers - replies.length),
    };
  }
}

function describe(
  routerId: string,
  { verdict, acceptLevel, messageId, flightRecord: record, ...rest }: RecentPush,
): ClientPushInfo {
  const isStored = acceptLevel !== AcceptLevel.ACCEPT_LEVEL_UNSPECIFIED;
  return {
    ...rest,
    routerId,
    verdict: Verdict[verdict]?.replace('VERDICT_', '') ?? `${verdict}`,
    acceptLevel: isStored
      ? (AcceptLevel[acceptLevel]?.replace('ACCEPT_LEVEL_', '') ?? `${acceptLevel}`)
      : null,
    messageId: messageId || null,
    ...flightRecordOf(record),
  };
}

function unavailable(reason: string): Rejection {
  return rejection('REDIS_UNAVAILABLE', reason);
}
