/** Pushes to more than one client: one payload for a list of clients, or for all connected ones. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ShardQueries } from '../../common/cluster/shard-query.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { TokenBucket } from '../../common/process/token-bucket.js';
import type {
  BroadcastRequest,
  BroadcastResponse,
  ClientFailure,
  PushManyRequest,
  PushManyResponse,
  Verdict,
} from '../../proto/gen/longline/v1/push.js';
import { rejectPayload } from './push-check.js';
import type { Pusher } from './pusher.js';

const CLIENT_IDS_MAX = 10_000;
/** Pushes of one call that await their verdict. */
const PUSHES_AT_ONCE = 1_000;
const FAILURES_REPORTED_MAX = 100;
/** Shards of one broadcast that await answers: a shard without an owner must not stop the others. */
const SHARDS_AT_ONCE = 8;
/** Interval at which a broadcast that waits notices a cancellation. */
const CANCEL_POLL_MS = 1_000;

export async function pushMany(
  pusher: Pusher,
  request: PushManyRequest,
): Promise<PushManyResponse | Rejection> {
  const { clientIds, ...common } = request;
  if (clientIds.length === 0 || clientIds.length > CLIENT_IDS_MAX) {
    const message = `client_ids has ${clientIds.length} entries; 1 to ${CLIENT_IDS_MAX} are allowed`;
    return rejection('REQUEST_MALFORMED', message);
  }
  const counts = new Map<Verdict, number>();
  const failures: ClientFailure[] = [];
  let failed = 0;
  // In the order of shards: neighbours share a master, and its connection pipelines them.
  const ordered = clientIds
    .map((clientId) => ({ clientId, shard: pusher.shardQueries.shardOf(clientId) }))
    .sort((a, b) => a.shard - b.shard);
  await inParallel(ordered, PUSHES_AT_ONCE, async ({ clientId }) => {
    const result = await pusher.push({ ...common, clientId });
    if (!('code' in result)) {
      counts.set(result.verdict, (counts.get(result.verdict) ?? 0) + 1);
      return;
    }
    failed++;
    if (failures.length < FAILURES_REPORTED_MAX) failures.push({ clientId, failure: result });
  });
  return {
    counts: Array.from(counts, ([verdict, count]) => ({ verdict, count })),
    failures,
    failed,
  };
}

/** @param isCancelled whether the caller has cancelled the call */
export async function broadcast(
  shardQueries: ShardQueries,
  request: BroadcastRequest,
  limits: { readonly waitMs: number; readonly payloadBytesMax: number },
  isCancelled: () => boolean,
): Promise<BroadcastResponse | Rejection> {
  const { payload, contentType, clientsPerSecond } = request;
  if (clientsPerSecond === 0) {
    return rejection('REQUEST_MALFORMED', 'clients_per_second is 0; the minimum is 1');
  }
  const invalidPayload = rejectPayload(request, limits.payloadBytesMax);
  if (invalidPayload !== undefined) return invalidPayload;
  const total: BroadcastResponse = { written: 0, slow: 0, shardsUnknown: 0 };
  // Without a burst: how many clients a shard has is known only after they were written to.
  const bucket = new TokenBucket(clientsPerSecond, performance.now(), 0);
  const debtMs = () => bucket.debtMs(performance.now());
  await inParallel(
    Array.from({ length: shardQueries.shardCount }).keys(),
    SHARDS_AT_ONCE,
    async (shard) => {
      for (let waitMs = debtMs(); waitMs > 0 && !isCancelled(); waitMs = debtMs()) {
        await sleep(Math.min(CANCEL_POLL_MS, waitMs));
      }
      if (isCancelled()) return;
      const body = { $case: 'broadcast', value: { payload, contentType } } as const;
      const answers = await shardQueries.queryShard(shard, body, limits.waitMs);
      if ('code' in answers || !answers.complete) total.shardsUnknown++;
      if ('code' in answers) return;
      let written = 0;
      for (const answer of answers.bodies) {
        if (answer.$case !== 'broadcast') continue;
        written += answer.value.written;
        total.slow += answer.value.slow;
      }
      total.written += written;
      bucket.charge(performance.now(), written);
    },
  );
  return total;
}

/** Runs `work` for each item, in order, for at most `atOnce` items at a time. */
async function inParallel<Item>(
  items: Iterable<Item>,
  atOnce: number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const rest = items[Symbol.iterator]();
  const worker = async () => {
    for (let next = rest.next(); !next.done; next = rest.next()) await work(next.value);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}
