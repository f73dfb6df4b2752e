/** One payload for a list of clients. */
import { type Rejection, rejection } from '../../../common/process/errors.js';
import { rejectClientId } from '../../../common/wire/client-id.js';
import type { TraceBody } from '../../../proto/gen/longline/v1/envelope.js';
import type { PushManyRequest, PushManyResponse } from '../../../proto/gen/longline/v1/push.js';
import { ManyPusher, type ManyPusherOptions } from './many-pusher.js';
import type { ClientsOfShard } from './packed.js';
import { Tally } from './tally.js';

export const CLIENT_IDS_MAX = 10_000;

/**
 * @param answerByMs when the response must be ready, in ms of the monotonic clock
 * @param isEnded whether the caller has cancelled the call or disconnected
 * @param trace of the call, for messages to several clients
 */
export async function pushMany(
  options: ManyPusherOptions,
  { clientIds, ...request }: PushManyRequest,
  answerByMs: number,
  isEnded: () => boolean,
  trace?: TraceBody,
): Promise<PushManyResponse | Rejection> {
  const { length } = clientIds;
  if (length === 0 || length > CLIENT_IDS_MAX) {
    const message = `${length} clientIds; 1 to ${CLIENT_IDS_MAX} are allowed`;
    return rejection('REQUEST_MALFORMED', message);
  }
  const { pusher } = options;
  const tally = new Tally(true);
  const valid = clientIds.filter((clientId) => {
    const invalid = rejectClientId(clientId);
    if (invalid !== undefined) tally.onFailure(clientId, pusher.rejected(invalid));
    return invalid === undefined;
  });
  const common = { ...request, flightRecord: false };
  const push = { common, answerByMs, tally, isRemembered: true, trace };
  const manyPusher = new ManyPusher(options, push);
  const places = manyPusher.places();
  let left = valid.length;
  try {
    for (const parts of listsOf(valid, (each) => pusher.shardQueries.shardOf(each))) {
      for (const { clients, send } of manyPusher.stepsOf(parts)) {
        await places.untilFree();
        if (isEnded()) break;
        places.hold(send(), clients);
        left -= clients;
      }
    }
    pusher.onAbandoned(left);
    await places.untilDone();
  } finally {
    places.close();
  }
  const { counts, failures, failed, unknownClientIds } = tally;
  return { counts, failures, failed, unknownClientIds };
}

/**
 * The clients by shard, in the order of shards: neighbours share a master. A clientId that is
 * listed again is in a further list, so that each list has it once.
 */
function listsOf(
  clientIds: readonly string[],
  shardOf: (clientId: string) => number,
): ClientsOfShard[][] {
  const lists: Map<number, string[]>[] = [];
  const timesListed = new Map<string, number>();
  for (const clientId of clientIds) {
    const times = timesListed.get(clientId) ?? 0;
    timesListed.set(clientId, times + 1);
    lists[times] ??= new Map();
    const shard = shardOf(clientId);
    const others = lists[times].get(shard);
    if (others === undefined) lists[times].set(shard, [clientId]);
    else others.push(clientId);
  }
  return lists.map((byShard) =>
    Array.from(byShard, ([shard, ids]) => ({ shard, clientIds: ids })).sort(
      (a, b) => a.shard - b.shard,
    ),
  );
}
