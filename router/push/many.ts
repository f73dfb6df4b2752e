/** Pushes to more than one client: the same payload for a list of them, or for all that are there. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ShardQueries } from '../../common/cluster/shard-query.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type {
  BroadcastRequest,
  BroadcastResponse,
  ClientFailure,
  PushManyRequest,
  PushManyResponse,
  Verdict,
} from '../../proto/gen/longline/v1/push.js';
import { type Pusher, rejectPayload } from './pusher.js';

const CLIENT_IDS_MAX = 10_000;
/** Pushes of one call that wait for their verdict. */
const PUSHES_AT_ONCE = 1_000;
const FAILURES_SAID_MAX = 100;
/** Shards of one broadcast that wait for an answer: one that nobody owns must not stop the others. */
const SHARDS_AT_ONCE = 8;

export async function pushMany(
  pusher: Pusher,
  request: PushManyRequest,
): Promise<PushManyResponse | Rejection> {
  const { clientIds, ...common } = request;
  if (clientIds.length === 0 || clientIds.length > CLIENT_IDS_MAX) {
    const why = `client_ids has 1 to ${CLIENT_IDS_MAX} entries, this one ${clientIds.length}`;
    return rejection('REQUEST_MALFORMED', why);
  }
  const counts = new Map<Verdict, number>();
  const failures: ClientFailure[] = [];
  let failed = 0;
  // In the order of shards: neighbours share a master, and its connection sends them as one.
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
    if (failures.length < FAILURES_SAID_MAX) failures.push({ clientId, failure: result });
  });
  return {
    counts: Array.from(counts, ([verdict, count]) => ({ verdict, count })),
    failures,
    failed,
  };
}

/** @param isCancelled whether the caller has lost interest */
export async function broadcast(
  shardQueries: ShardQueries,
  request: BroadcastRequest,
  limits: { readonly waitMs: number; readonly payloadBytesMax: number },
  isCancelled: () => boolean,
): Promise<BroadcastResponse | Rejection> {
  const { payload, contentType, clientsPerSecond } = request;
  if (clientsPerSecond === 0) {
    return rejection('REQUEST_MALFORMED', 'clients_per_second is at least 1');
  }
  const unfit = rejectPayload(request, limits.payloadBytesMax);
  if (unfit !== undefined) return unfit;
  const total: BroadcastResponse = { written: 0, slow: 0, shardsUnknown: 0 };
  /** When the clients that were written to so far have used up their share of time. */
  let freeAtMs = performance.now();
  await inParallel(
    Array.from({ length: shardQueries.shardCount }).keys(),
    SHARDS_AT_ONCE,
    async (shard) => {
      while (!isCancelled() && freeAtMs > performance.now()) {
        await sleep(Math.min(1_000, freeAtMs - performance.now()));
      }
      if (isCancelled()) return;
      const body = { $case: 'broadcast', value: { payload, contentType } } as const;
      const answers = await shardQueries.askShard(shard, body, limits.waitMs);
      if ('code' in answers || !answers.complete) total.shardsUnknown++;
      if ('code' in answers) return;
      let written = 0;
      for (const answer of answers.bodies) {
        if (answer.$case !== 'broadcast') continue;
        written += answer.value.written;
        total.slow += answer.value.slow;
      }
      total.written += written;
      freeAtMs = Math.max(freeAtMs, performance.now()) + (written * 1_000) / clientsPerSecond;
    },
  );
  return total;
}

/** Works on all items, on at most `atOnce` of them at a time, in their order. */
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
