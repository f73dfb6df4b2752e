/** Pushes to more than one client: one payload for a list of clients, or for all connected ones. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ShardQueries } from '../../common/cluster/shard-query.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { TokenBucket } from '../../common/process/token-bucket.js';
import { CLIENT_ID_BYTES_MAX } from '../../common/wire/client-id.js';
import {
  type BroadcastRequest,
  type BroadcastResponse,
  type ClientFailure,
  type PushManyRequest,
  type PushManyResponse,
  Verdict,
} from '../../proto/gen/longline/v1/push.js';
import { Places } from './places.js';
import { rejectPayload } from './push-check.js';
import type { Pusher } from './pusher.js';

const CLIENT_IDS_MAX = 10_000;
/** Pushes of one call that await their verdict, while edges answer. */
const PUSHES_AT_ONCE = 1_000;
const FAILURES_REPORTED_MAX = 100;
/** Shards of one broadcast that await answers, while edges answer. */
const SHARDS_AT_ONCE = 8;
/** One call may use this share of the shard queries in flight that the router permits. */
const IN_FLIGHT_SHARE = 1 / 4;
/** Interval at which a broadcast that waits notices that it must end. */
const END_POLL_MS = 1_000;

/**
 * @param answerByMs when the response must be ready, in ms of the monotonic clock
 * @param isEnded whether the caller has cancelled the call or disconnected
 */
export async function pushMany(
  pusher: Pusher,
  request: PushManyRequest,
  answerByMs: number,
  isEnded: () => boolean,
): Promise<PushManyResponse | Rejection> {
  const { clientIds, ...common } = request;
  if (clientIds.length === 0 || clientIds.length > CLIENT_IDS_MAX) {
    const message = `client_ids has ${clientIds.length} entries; 1 to ${CLIENT_IDS_MAX} are allowed`;
    return rejection('REQUEST_MALFORMED', message);
  }
  const counts = new Map<Verdict, number>();
  const failures: ClientFailure[] = [];
  const unknownClientIds: string[] = [];
  let failed = 0;
  // In the order of shards: neighbours share a master, and its connection pipelines them.
  const ordered = clientIds
    .map((clientId) => ({ clientId, shard: pusher.shardQueries.shardOf(clientId) }))
    .sort((a, b) => a.shard - b.shard);
  const push = async (clientId: string) => {
    const result = await pusher.push({ ...common, clientId }, answerByMs);
    if (!('code' in result)) {
      counts.set(result.verdict, (counts.get(result.verdict) ?? 0) + 1);
      if (result.verdict === Verdict.VERDICT_UNKNOWN) unknownClientIds.push(clientId);
      return;
    }
    failed++;
    if (failures.length >= FAILURES_REPORTED_MAX) return;
    // An invalid clientId may have any length; the response must not be too large for the caller.
    failures.push({ clientId: clientId.slice(0, CLIENT_ID_BYTES_MAX), failure: result });
  };
  const pendingMax = Math.max(PUSHES_AT_ONCE, shareOfInFlight(pusher.shardQueries));
  const places = new Places(PUSHES_AT_ONCE, pendingMax);
  try {
    for (const [index, { clientId }] of ordered.entries()) {
      await places.untilFree();
      if (isEnded()) {
        pusher.onAbandoned(ordered.length - index);
        break;
      }
      places.hold(push(clientId));
    }
    await places.untilDone();
  } finally {
    places.close();
  }
  return {
    counts: Array.from(counts, ([verdict, count]) => ({ verdict, count })),
    failures,
    failed,
    unknownClientIds,
  };
}

export interface BroadcastLimits {
  /** How long the answers for one shard are awaited. */
  readonly waitMs: number;
  readonly payloadBytesMax: number;
  /** When the response must be ready, in ms of the monotonic clock. */
  readonly answerByMs: number;
  /** Whether the caller has cancelled the call, or the router shuts down. */
  readonly isEnded: () => boolean;
}

export async function broadcast(
  shardQueries: ShardQueries,
  request: BroadcastRequest,
  limits: BroadcastLimits,
): Promise<BroadcastResponse | Rejection> {
  const { clientsPerSecond } = request;
  if (clientsPerSecond === 0) {
    return rejection('REQUEST_MALFORMED', 'clients_per_second is 0; the minimum is 1');
  }
  const invalidPayload = rejectPayload(request, limits.payloadBytesMax);
  if (invalidPayload !== undefined) return invalidPayload;
  return new Broadcast(shardQueries, request, limits).run();
}

class Broadcast {
  readonly #total: BroadcastResponse = { written: 0, slow: 0, shardsUnknown: 0, shardsNotSent: 0 };
  readonly #bucket: TokenBucket;
  /** Shards of which every edge has answered, and the clients that they had. */
  #shardsComplete = 0;
  #clientsComplete = 0;
  #rejection: Rejection | undefined;

  constructor(
    readonly shardQueries: ShardQueries,
    readonly request: BroadcastRequest,
    readonly limits: BroadcastLimits,
  ) {
    // Without a burst: how many clients a shard has is known only after they were written to.
    this.#bucket = new TokenBucket(request.clientsPerSecond, performance.now(), 0);
  }

  async run(): Promise<BroadcastResponse | Rejection> {
    const { shardCount } = this.shardQueries;
    const places = new Places(SHARDS_AT_ONCE, shareOfInFlight(this.shardQueries));
    try {
      for (let shard = 0; shard < shardCount; shard++) {
        await places.untilFree();
        await this.#untilPaid();
        if (this.#isOver()) {
          this.#total.shardsNotSent += shardCount - shard;
          break;
        }
        places.hold(this.#send(shard));
      }
      await places.untilDone();
    } finally {
      places.close();
    }
    const isNothingSent = this.#total.shardsNotSent === shardCount;
    return isNothingSent && this.#rejection !== undefined ? this.#rejection : this.#total;
  }

  #isOver(): boolean {
    return performance.now() >= this.limits.answerByMs || this.limits.isEnded();
  }

  /** Mean of the shards of which every edge has answered. */
  #clientsPerShard(): number {
    return this.#shardsComplete === 0 ? 0 : this.#clientsComplete / this.#shardsComplete;
  }

  async #untilPaid(): Promise<void> {
    for (;;) {
      const nowMs = performance.now();
      const debtMs = this.#bucket.debtMs(nowMs);
      if (debtMs === 0 || this.#isOver()) return;
      await sleep(Math.min(END_POLL_MS, debtMs, this.limits.answerByMs - nowMs));
    }
  }

  /**
   * Pays for the mean number of clients in advance: many shards may be pending when edges are slow,
   * and the rate must be met all the same. The answer corrects it.
   */
  async #send(shard: number): Promise<void> {
    const { payload, contentType } = this.request;
    const { waitMs, answerByMs } = this.limits;
    const nowMs = performance.now();
    const paid = this.#clientsPerShard();
    this.#bucket.charge(nowMs, paid);
    const body = { $case: 'broadcast', value: { payload, contentType } } as const;
    const timeoutMs = Math.min(waitMs, answerByMs - nowMs);
    const answers = await this.shardQueries.queryShard(shard, body, timeoutMs);
    if ('code' in answers) {
      this.#total.shardsNotSent++;
      this.#rejection = answers;
      this.#bucket.charge(performance.now(), -paid);
      return;
    }
    let written = 0;
    for (const answer of answers.bodies) {
      if (answer.$case !== 'broadcast') continue;
      written += answer.value.written;
      this.#total.slow += answer.value.slow;
    }
    this.#total.written += written;
    if (answers.complete) {
      this.#shardsComplete++;
      this.#clientsComplete += written;
    } else this.#total.shardsUnknown++;
    // An edge that did not answer may have written to its clients all the same.
    const cost = answers.complete ? written : Math.max(written, this.#clientsPerShard());
    this.#bucket.charge(performance.now(), cost - paid);
  }
}

function shareOfInFlight({ inFlightMax }: ShardQueries): number {
  return Math.floor(inFlightMax * IN_FLIGHT_SHARE);
}
