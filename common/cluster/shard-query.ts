/**
 * Asking the edges: one envelope on a shard's channel, and the answers of everybody who listens
 * there. Pushes, presence and disconnects all go this way.
 *
 * When all have answered is known from two facts: how many subscribers Redis gave the envelope to,
 * and that the owner is among those who answered. The first alone is a hint only (right after a
 * failover Redis counts too few); the second alone would overlook a guest on another edge.
 */

import { BinaryWriter } from '@bufbuild/protobuf/wire';
import {
  type Reply,
  type ReplyBatch,
  ShardEnvelope,
} from '../../proto/gen/longline/v1/envelope.js';
import type { Presence } from '../../proto/gen/longline/v1/push.js';
import { Deadlines } from '../process/deadlines.js';
import { type Rejection, rejection } from '../process/errors.js';
import type { Metrics } from '../process/metrics.js';
import type { PrivateChannels } from '../redis/private-channels.js';
import type { PublishResult, RedisLink } from '../redis/redis-link.js';
import { shardChannel, shardOf, shardTags } from './shard.js';

/** Answers of the edges to one question, as far as they came in time. */
export interface Answers {
  readonly bodies: readonly NonNullable<Reply['body']>[];
  /** Every edge that could hold the client has answered, the owner among them. */
  readonly complete: boolean;
}

/**
 * What became of the question itself. `settled`: it was decided without the edges, nobody will
 * answer.
 */
export type SendResult = PublishResult | { readonly type: 'settled' };

/** Puts an envelope on a channel, one way or another. */
export type Send = (channel: string, envelope: Buffer) => Promise<SendResult>;

interface Ask {
  readonly bodies: NonNullable<Reply['body']>[];
  ownerAnswered: boolean;
  /** Undefined until Redis has said how many subscribers the question had. */
  receivers: number | undefined;
  /** An answer has come that no other can better; only what became of the question is waited for. */
  hasFinal: boolean;
  readonly isFinal: (body: NonNullable<Reply['body']>) => boolean;
  readonly settle: (answers: Answers | Rejection) => void;
}

const PRESENCE_WAIT_MS = 1_000;
/** How much later than asked for a question may be given up. */
const DEADLINE_GRAIN_MS = 20;

export class ShardQueries {
  readonly #asks = new Map<number, Ask>();
  /** One for all questions: a timer for each would cost more than the question itself. */
  readonly #deadlines = new Deadlines(DEADLINE_GRAIN_MS);
  readonly #tags: readonly string[];
  /** Kept for its memory, which a new one would have to grow first. */
  readonly #writer = new BinaryWriter();
  #lastQueryId = 0;

  constructor(
    readonly link: Pick<RedisLink, 'publish'>,
    readonly channels: Pick<PrivateChannels, 'replyChannelFor'>,
    readonly shardCount: number,
    /** Bound on questions that wait for answers; more are rejected as OVERLOADED. */
    readonly inFlightMax: number,
    metrics: Metrics,
    role: 'router' | 'control',
  ) {
    this.#tags = shardTags(shardCount);
    setInterval(() => {
      for (const queryId of this.#deadlines.passed(performance.now())) this.#settle(queryId);
    }, DEADLINE_GRAIN_MS).unref();
    metrics.gauge(
      `longline_${role}_shard_queries_in_flight`,
      'Questions to edges that wait for an answer.',
      () => this.#asks.size,
    );
  }

  /**
   * Asks the edges that listen to the client's shard. Settles when what became of the question is
   * known and all have answered or `isFinal` says so of an answer, or after `waitMs`.
   * @param send how the question is put on the shard's channel
   */
  ask(
    clientId: string,
    body: NonNullable<ShardEnvelope['body']>,
    waitMs: number,
    isFinal: Ask['isFinal'],
    send?: Send,
  ): Promise<Answers | Rejection> {
    return this.#ask(this.tagOf(clientId), clientId, body, waitMs, isFinal, send);
  }

  /** Asks the edges that listen to a shard about all of its clients. */
  askShard(
    shard: number,
    body: NonNullable<ShardEnvelope['body']>,
    waitMs: number,
  ): Promise<Answers | Rejection> {
    return this.#ask(this.#tags[shard]!, '', body, waitMs, () => false);
  }

  #ask(
    tag: string,
    clientId: string,
    body: NonNullable<ShardEnvelope['body']>,
    waitMs: number,
    isFinal: Ask['isFinal'],
    send: Send = (channel, envelope) => this.link.publish(channel, envelope),
  ): Promise<Answers | Rejection> {
    const replyChannel = this.channels.replyChannelFor(tag);
    if (replyChannel === undefined) {
      const why = 'no reply channel is confirmed at the moment';
      return Promise.resolve(rejection('REDIS_UNAVAILABLE', why));
    }
    if (this.#asks.size >= this.inFlightMax) {
      const why = `${this.inFlightMax} questions are in flight`;
      return Promise.resolve(rejection('OVERLOADED', why));
    }
    const queryId = ++this.#lastQueryId;
    const envelope = { queryId, replyChannel, clientId, body, id: '', seq: '' };
    const bytes = ShardEnvelope.encode(envelope, this.#writer).finish();
    return new Promise((settle) => {
      const ask: Ask = {
        bodies: [],
        ownerAnswered: false,
        receivers: undefined,
        hasFinal: false,
        isFinal,
        settle,
      };
      this.#asks.set(queryId, ask);
      this.#deadlines.add(queryId, performance.now() + waitMs);
      void send(shardChannel(tag), Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)).then(
        (result) => {
          if (result.type === 'rejected') {
            this.#asks.delete(queryId);
            settle(rejectRedis(result.reason));
          } else if (result.type === 'published') {
            ask.receivers = result.receivers;
            if (ask.hasFinal || isComplete(ask)) this.#settle(queryId);
          } else if (result.type === 'settled') {
            this.#settle(queryId);
          }
          // Unknown: the answers, or their absence until the deadline, will tell.
        },
      );
    });
  }

  shardOf(clientId: string): number {
    return shardOf(clientId, this.shardCount);
  }

  /** The tag of the client's shard. */
  tagOf(clientId: string): string {
    return this.#tags[this.shardOf(clientId)]!;
  }

  async askPresence(
    clientId: string,
  ): Promise<{ connections: Presence[]; complete: boolean } | Rejection> {
    const body = { $case: 'presence', value: {} } as const;
    const answers = await this.ask(clientId, body, PRESENCE_WAIT_MS, () => false);
    if ('code' in answers) return answers;
    const connections = answers.bodies.flatMap((b) => (b.$case === 'presence' ? [b.value] : []));
    return { connections, complete: answers.complete };
  }

  /** To be given every batch of replies that comes on a private channel of this process. */
  onReplies(batch: ReplyBatch): void {
    for (const reply of batch.replies) {
      const ask = this.#asks.get(reply.queryId);
      // Late, or of a version that answers something we do not know.
      if (ask === undefined || reply.body === undefined) continue;
      ask.bodies.push(reply.body);
      if (reply.owner) ask.ownerAnswered = true;
      if (ask.isFinal(reply.body)) ask.hasFinal = true;
      const isSent = ask.receivers !== undefined;
      if (isSent && (ask.hasFinal || isComplete(ask))) this.#settle(reply.queryId);
    }
  }

  #settle(queryId: number): void {
    const ask = this.#asks.get(queryId);
    if (ask === undefined) return;
    this.#asks.delete(queryId);
    ask.settle({ bodies: ask.bodies, complete: isComplete(ask) });
  }
}

/** Redis says itself when it is full or cannot persist, and that is another trouble than its absence. */
function rejectRedis(reason: string): Rejection {
  const isFull = reason.startsWith('OOM') || reason.startsWith('MISCONF');
  return rejection(isFull ? 'STORAGE_FULL' : 'REDIS_UNAVAILABLE', reason);
}

function isComplete(ask: Ask): boolean {
  return ask.ownerAnswered && ask.receivers !== undefined && ask.bodies.length >= ask.receivers;
}
