/**
 * One durable push to several clients, with one script and one message for each owner of shards
 * (`common/cluster/inbox/push-together.ts`). What becomes of each client is as if it was pushed to
 * alone: the same bounds and rates, and a verdict of its own.
 *
 * An edge that does not own a shard any more leaves it out. The router sends it again on the
 * shard's own channel, with the ids and the number that it has.
 */
import {
  NOT_STORED,
  type StoredTogether,
  storeTogether,
} from '../../../common/cluster/inbox/push-together.js';
import { OUTCOME_NUMBERS } from '../../../common/cluster/push-outcomes.js';
import {
  type QueryResult,
  redisRejection,
  type SendResult,
} from '../../../common/cluster/shard-query.js';
import type { Rejection } from '../../../common/process/errors.js';
import type { Outcome } from '../../../common/redis/execute.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import type { ScriptLink } from '../../../common/redis/script.js';
import { withNumber } from '../../../common/wire/push-envelope.js';
import {
  AcceptLevel,
  type PushRequest,
  type PushResponse,
  Verdict,
  WaitFor,
} from '../../../proto/gen/longline/v1/push.js';
import { type Pusher, responseOf } from '../pusher.js';
import type { ManyPush } from './many-push.js';
import type { ClientsOfShard } from './packed.js';
import { Tally } from './tally.js';

/** Maximum clients of one script: some 10 µs each, for which it blocks Redis. */
const CLIENTS_MAX = 64;
/** Maximum bytes that one script appends to inboxes, unless one payload is larger. */
const BYTES_MAX = 256 * 1024;

const { ACCEPT_LEVEL_ACCEPTED } = AcceptLevel;

type Stamped = Pick<PushRequest, 'payload' | 'contentType' | 'whenSlow'> & {
  readonly ttlMs: number;
};
type StoredOne = StoredTogether['outcomes'][number];
/**
 * For each client whether it was written to; undefined: no edge says that it has processed the
 * push.
 */
type Written = (boolean | undefined)[];

/** Clients of one payload that one script can store for. */
export function clientsPerScript(payloadBytes: number): number {
  return Math.max(1, Math.min(CLIENTS_MAX, Math.floor(BYTES_MAX / Math.max(1, payloadBytes))));
}

/** The clients of one shard in a message. */
interface Part extends ClientsOfShard {
  readonly channel: string;
  /** Index of the first client among all of the script. */
  readonly firstIndex: number;
}

/** A shard that the edge has left out. */
interface Left {
  readonly part: Part;
  readonly number: string;
  readonly ids: string;
}

/** Where the pushes to shards are stored and published. */
export interface ShardStore {
  readonly link: ScriptLink & Pick<RedisLink, 'publish' | 'isCluster'>;
  readonly channelOf: (shard: number) => string;
}

export class TogetherPusher {
  constructor(
    readonly pusher: Pusher,
    readonly store: ShardStore,
    readonly push: Omit<ManyPush, 'trace'>,
  ) {}

  /**
   * @param messages for each the clients of some shards, all of one scope, with `clientsPerScript`
   *   clients at most
   */
  async send(messages: readonly (readonly ClientsOfShard[])[]): Promise<void> {
    const startedMs = performance.now();
    const { pusher } = this;
    const { common, answerByMs, tally } = this.push;
    const waitMs = pusher.admit({ ...common, clientId: '-' }, startedMs, answerByMs, false);
    const isAdmitted = (clientId: string) => {
      const rejected = typeof waitMs === 'number' ? pusher.rejectRate(clientId, startedMs) : waitMs;
      if (rejected !== undefined) tally.onFailure(clientId, pusher.rejected(rejected));
      return rejected === undefined;
    };
    let firstIndex = 0;
    const admitted = messages
      .map((parts) =>
        parts
          .map(({ shard, clientIds }) => ({ shard, clientIds: clientIds.filter(isAdmitted) }))
          .filter(({ clientIds }) => clientIds.length > 0)
          .map((part): Part => {
            const channel = this.store.channelOf(part.shard);
            const sent = { ...part, channel, firstIndex };
            firstIndex += part.clientIds.length;
            return sent;
          }),
      )
      .filter((parts) => parts.length > 0);
    if (admitted.length === 0 || typeof waitMs !== 'number') return;
    await this.#send(admitted, startedMs, startedMs + waitMs);
  }

  /** @param untilMs end of the wait, in ms of the monotonic clock */
  async #send(
    messages: readonly (readonly Part[])[],
    startedMs: number,
    untilMs: number,
  ): Promise<void> {
    const { pusher, store } = this;
    const { common, tally } = this.push;
    const { payload, contentType, whenSlow, idempotencyKey } = common;
    const push = { payload, contentType, whenSlow, ttlMs: pusher.ttlMsOf(common) };
    let stored: Outcome<StoredTogether> | undefined;
    const answers = await pusher.shardQueries.queryShards(
      messages.map(([carrier]) => carrier!.channel),
      messages.map((parts) => bodyOf(push, parts)),
      untilMs - performance.now(),
      common.waitFor !== WaitFor.WAIT_FOR_STORED,
      async (envelopes) => {
        const sent = messages.map((shards, i) => ({ shards, envelope: envelopes[i]! }));
        const { inbox } = pusher.config;
        for (const { channel } of messages.flat()) pusher.sendBefore(channel);
        stored = await storeTogether(
          store.link,
          { ...push, idempotencyKey, messages: sent },
          inbox,
        );
        if (stored.type === 'unknown') pusher.counted.stored.onUnanswered();
        return sendResultOf(stored);
      },
    );
    const parts = messages.flat();
    if ('code' in answers) {
      for (const { clientIds } of parts) {
        for (const each of clientIds) tally.onFailure(each, pusher.rejected(answers));
      }
      return;
    }
    const written: Written = [];
    addTo(written, answers);
    if (stored?.type === 'done' && answers.haveAllReplied) {
      const left = leftOf(parts, written, stored.reply);
      if (left.length > 0) addTo(written, await this.#sendAgain(push, left, untilMs));
    }
    const found = new Tally(tally.namesUnknown);
    const nowMs = performance.now();
    for (const { channel, clientIds, firstIndex } of parts) {
      for (const [i, clientId] of clientIds.entries()) {
        const one = stored?.type === 'done' ? stored.reply.outcomes[firstIndex + i]! : UNKNOWN;
        const response = this.#responseTo({ clientId, channel }, one, written[firstIndex + i]);
        if ('code' in response) {
          found.onFailure(clientId, response);
          continue;
        }
        found.onVerdictOf(clientId, response.verdict);
        if (this.push.isRemembered) {
          const pushed = { clientId, payloadBytes: payload.length };
          pusher.remember(pushed, { response, answers, confirmingMs: 0 }, startedMs, nowMs);
        }
      }
    }
    for (const { verdict, count } of found.counts) pusher.onVerdict(verdict, startedMs, count);
    tally.add(found);
  }

  /** Sends what is stored to the edges that are subscribed to these shards. */
  #sendAgain(push: Stamped, left: readonly Left[], untilMs: number) {
    const { pusher, store } = this;
    return pusher.shardQueries.queryShards(
      left.map(({ part }) => part.channel),
      left.map(({ part }) => bodyOf(push, [part])),
      untilMs - performance.now(),
      true,
      async (envelopes): Promise<SendResult> => {
        const results = await Promise.all(
          left.map(({ part, ids, number }, i) =>
            store.link.publish(part.channel, withNumber(envelopes[i]!, ids, number)),
          ),
        );
        const receivers = results.reduce(
          (sum, result) => sum + (result.type === 'published' ? result.receivers : 0),
          0,
        );
        return receivers === 0 ? { type: 'decided' } : { type: 'published', receivers };
      },
    );
  }

  /** @param isWritten undefined: no edge has processed the push */
  #responseTo(
    { clientId, channel }: { readonly clientId: string; readonly channel: string },
    stored: StoredOne,
    isWritten: boolean | undefined,
  ): PushResponse | Rejection {
    const { pusher } = this;
    if (stored.type === 'rejected') return pusher.rejected(redisRejection(stored.reason));
    const verdict = verdictOf(stored, isWritten);
    if (stored.type !== 'done' || stored.reply.type === 'invalid') return responseOf(verdict);
    if (stored.reply.type === 'duplicate') {
      return responseOf(verdict, stored.reply.firstId, ACCEPT_LEVEL_ACCEPTED);
    }
    const { id, dropped } = stored.reply;
    pusher.onStored(channel, clientId, id, dropped);
    return responseOf(verdict, id, ACCEPT_LEVEL_ACCEPTED);
  }
}

const UNKNOWN: Outcome<never> = { type: 'unknown', reason: '' };

function bodyOf(push: Stamped, parts: readonly Part[]) {
  const value = {
    ...push,
    clientIds: parts.flatMap(({ clientIds }) => clientIds),
    firstIndex: parts[0]!.firstIndex,
    shards: parts.map(({ shard }) => shard),
    clientCounts: parts.map(({ clientIds }) => clientIds.length),
  };
  return { $case: 'storedPush', value } as const;
}

function sendResultOf(stored: Outcome<StoredTogether>): SendResult {
  if (stored.type !== 'done') return stored;
  const { receivers, outcomes } = stored.reply;
  const isAnyStored = outcomes.some((one) => one.type === 'done' && one.reply.type === 'stored');
  return isAnyStored ? { type: 'published', receivers } : { type: 'decided' };
}

/** Adds what edges have answered. */
function addTo(written: Written, answers: QueryResult | Rejection): void {
  if ('code' in answers) return;
  for (const body of answers.bodies) {
    if (body.$case !== 'multiPush') continue;
    const { outcomes, firstIndex } = body.value;
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome === 0) continue;
      written[firstIndex + i] ||= outcome === OUTCOME_NUMBERS.written;
    }
  }
}

/**
 * Shards beside others in a message that the edge has not processed, because it does not own them.
 */
function leftOf(
  parts: readonly Part[],
  written: Written,
  { outcomes, numbers }: StoredTogether,
): Left[] {
  return parts.flatMap((part, k) => {
    const { clientIds, firstIndex } = part;
    const isProcessed = clientIds.some((_, i) => written[firstIndex + i] !== undefined);
    const number = numbers[k]!;
    if (isProcessed || number === NOT_STORED) return [];
    const ids = clientIds.map((_, i) => {
      const one = outcomes[firstIndex + i]!;
      return one.type === 'done' && one.reply.type === 'stored' ? one.reply.id : NOT_STORED;
    });
    return { part, number, ids: ids.join(' ') };
  });
}

function verdictOf(stored: StoredOne, isWritten: boolean | undefined): Verdict {
  if (stored.type === 'done' && stored.reply.type === 'duplicate') return Verdict.VERDICT_DUPLICATE;
  if (isWritten) return Verdict.VERDICT_WRITTEN;
  // The script publishes only what it has stored, so an answer of any edge proves the write.
  const isKept = stored.type === 'done' || isWritten !== undefined;
  return isKept ? Verdict.VERDICT_STORED : Verdict.VERDICT_UNKNOWN;
}
