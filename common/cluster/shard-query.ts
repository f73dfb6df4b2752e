/**
 * Scatter-gather queries: one envelope on a shard's channel, and one reply from each edge that is
 * subscribed to it. Pushes, presence and disconnects are such queries.
 *
 * Completeness: a result is complete when the shard's owner has replied, and at least as many edges
 * have replied as Redis counted receivers of the envelope. The count alone is not enough, because
 * Redis counts too few right after a failover. The owner alone is not enough, because the client
 * may be a guest on another edge. Nor are both together: Redis does not count an edge that has lost
 * its subscription. So each reply names the other edges that may have clients of the shard, and
 * those must have replied as well (an edge of an earlier version only counts them). Nor does this
 * suffice after a failover or a restart of Redis until every edge has followed this process to the
 * server: an owner that is new itself knows nothing of edges that are still at the former one.
 */
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Counter } from 'prom-client';
import {
  type Reply,
  type ReplyBatch,
  ShardEnvelope,
} from '../../proto/gen/longline/v1/envelope.js';
import type { Presence } from '../../proto/gen/longline/v1/push.js';
import { type Rejection, rejection } from '../process/errors.js';
import type { MemoryWatch } from '../process/memory/memory-watch.js';
import type { Metrics } from '../process/metrics.js';
import { Deadlines } from '../process/time/deadlines.js';
import type { PublishResult, RedisLink } from '../redis/redis-link.js';
import { sealPush } from '../wire/push-envelope.js';
import { seal } from '../wire/sealed-message.js';
import type { PrivateChannels } from './private-channels.js';
import { shardOf } from './shard.js';
import { ShardNames } from './shard-names.js';

type ReplyBody = NonNullable<Reply['body']>;
type QueryBody = NonNullable<ShardEnvelope['body']>;

/** The replies of the edges to one query that arrived in time. */
export interface QueryResult {
  readonly bodies: readonly ReplyBody[];
  /**
   * At least one edge has received the query, exactly those have replied, and none is still at a
   * former server.
   */
  readonly haveAllReplied: boolean;
  /** Every edge that could have the client has replied, the owner among them. */
  readonly complete: boolean;
  readonly waits: QueryWaits;
}

/** Waits of a query. Times are of the monotonic clock and up to `TIMEOUT_RESOLUTION_MS` early. */
export interface QueryWaits {
  /**
   * Receivers of the envelope as counted by Redis; undefined: it was not published, or may not have
   * been.
   */
  receivers: number | undefined;
  /** When the result of sending was known; 0: it was not. */
  sentAtMs: number;
  /** When the last reply arrived; 0: none did. */
  repliedAtMs: number;
  /** Time for which the event loop of this process was busy with other work. */
  stalledMs: number;
  /** The query has ended because its time was over. */
  isTimedOut: boolean;
}

/** Sees what becomes of one query. */
export interface QueryObserver {
  onSent(result: SendResult): void;
  onReply(edgeId: string, reply: Reply): void;
}

/** `decided`: the envelope was not published, because the result does not depend on the edges. */
export type SendResult = PublishResult | { readonly type: 'decided' };

/**
 * Publishes an envelope as a part of a script, whose result counts also without replies. Calls
 * `onSent` once, later. With a callback, because each promise has a cost per push.
 */
export type SendEnvelope = (
  channel: string,
  envelope: Buffer,
  onSent: (result: SendResult) => void,
) => void;

/**
 * A query without a result. It refers to nothing of what was sent: thousands of queries wait at a
 * time, and the garbage collector copies what they hold.
 */
class PendingQuery {
  /** Replaced at each reply: nearly all queries have one. */
  bodies: readonly ReplyBody[] = NO_BODIES;
  hasOwnerReply = false;
  /**
   * Edges beside the owner that may have clients of the shard: by the owner, and those that
   * replied.
   */
  others = 0;
  otherReplies = 0;
  /** Ids of the edges whose replies were not final, and of those that such replies have named. */
  replied: readonly string[] = NO_EDGES;
  named: readonly string[] = NO_EDGES;
  /** A final reply has arrived: only the result of sending is awaited. */
  hasFinalReply = false;
  /** Redis has not said whether it published the envelope, and will not. */
  isSendUnknown = false;
  readonly waits: QueryWaits;
  readonly channel: string;
  readonly isFinal: ((body: ReplyBody) => boolean) | null;
  /** Whether the owner's reply is awaited although all receivers have replied. */
  readonly awaitsOwner: boolean;
  readonly observer: QueryObserver | undefined;
  readonly result: Promise<QueryResult | Rejection>;
  resolve!: (result: QueryResult | Rejection) => void;

  /** @param stalledMs a total of this process until the query is done */
  constructor(
    readonly id: number,
    /** Whether replies were requested. */
    readonly awaitsReplies: boolean,
    { channel, isFinal, awaitsOwner = true, observer }: QueryOptions,
    stalledMs: number,
  ) {
    this.channel = channel;
    this.isFinal = isFinal;
    this.awaitsOwner = awaitsOwner;
    this.observer = observer;
    this.waits = {
      receivers: undefined,
      sentAtMs: 0,
      repliedAtMs: 0,
      stalledMs,
      isTimedOut: false,
    };
    this.result = new Promise((resolve) => {
      this.resolve = resolve;
    });
  }
}

const NO_BODIES: readonly ReplyBody[] = [];
const NO_EDGES: readonly string[] = [];

/** How a query is sent, and when it is done before its timeout. */
interface QueryOptions {
  /** The channel of the first envelope. */
  readonly channel: string;
  readonly isFinal: PendingQuery['isFinal'];
  readonly awaitsOwner?: boolean;
  readonly send?: SendEnvelope | undefined;
  readonly observer?: QueryObserver | undefined;
}

const PRESENCE_MS_MAX = 1_000;
/** A query times out at most this much late. */
const TIMEOUT_RESOLUTION_MS = 20;

export interface ShardQueriesOptions {
  readonly link: Pick<RedisLink, 'publish' | 'names'>;
  readonly channels: Pick<PrivateChannels, 'replyChannelFor' | 'downReason'>;
  readonly shardCount: number;
  /** Limit of queries in flight; more are rejected as OVERLOADED. */
  readonly inFlightMax: number;
  /** While memory is low, all queries are rejected as OVERLOADED. */
  readonly memory: Pick<MemoryWatch, 'beginSend' | 'endSend'>;
  /** Whether every edge uses the server to which this channel belongs now. */
  readonly haveEdgesFollowed: (channel: string) => boolean;
  readonly metrics: Metrics;
  readonly role: 'router' | 'control';
}

export class ShardQueries {
  /** By query id. */
  readonly #pending = new Map<number, PendingQuery>();
  /** Shared by all queries: a timer for each would cost more than the query itself. */
  readonly #deadlines = new Deadlines(TIMEOUT_RESOLUTION_MS);
  readonly #names: ShardNames;
  /** Reused: a new writer would have to grow its buffer first. */
  readonly #writer = new BinaryWriter();
  readonly #incomplete: Counter;
  #lastQueryId = 0;
  #waitsEndAtMs = Number.POSITIVE_INFINITY;
  /** Read from the clock at each step of the deadlines, as reading it for each query has a cost. */
  #nowMs = performance.now();
  #stalledMs = 0;

  constructor(readonly options: ShardQueriesOptions) {
    const { link, shardCount, metrics, role } = options;
    this.#names = new ShardNames(link.names, shardCount);
    setInterval(() => this.#step(performance.now()), TIMEOUT_RESOLUTION_MS).unref();
    metrics.gauge(
      `longline_${role}_shard_queries_in_flight`,
      'Shard queries that await replies of edges',
      () => this.#pending.size,
    );
    this.#incomplete = metrics.counter(
      `longline_${role}_shard_queries_incomplete_total`,
      'Shard queries that could not reach an edge which may have clients of the shard',
    );
  }

  /**
   * Queries the edges of the client's shard. Resolves when the result of sending is known and the
   * replies are complete or one of them is final; at the latest after `timeoutMs`.
   * @param isFinal whether no later reply can change the result; null: no reply is requested
   * @param send how the envelope is published; by default with SPUBLISH, and not at all while no
   *   reply could arrive
   * @param observer for a query of which more is to be known than its result
   */
  query(
    clientId: string,
    body: QueryBody,
    timeoutMs: number,
    isFinal: PendingQuery['isFinal'],
    send?: SendEnvelope,
    observer?: QueryObserver,
  ): Promise<QueryResult | Rejection> {
    const options = { channel: this.channelOf(clientId), isFinal, send, observer };
    return this.#query(clientId, body, timeoutMs, options);
  }

  /**
   * Queries the edges of a shard about all clients of the shard.
   * @param awaitsOwner false: resolves when all receivers have replied, also without the owner
   */
  queryShard(
    shard: number,
    body: QueryBody,
    timeoutMs: number,
    awaitsOwner = true,
  ): Promise<QueryResult | Rejection> {
    const channel = this.#names.channelOf(shard);
    return this.#query('', body, timeoutMs, { channel, isFinal: () => false, awaitsOwner });
  }

  /**
   * Asks routers about a client. It is done when all that Redis has counted have replied.
   * @param channel to which they are subscribed (presence/routers-channels.ts)
   */
  queryRouters(
    channel: string,
    clientId: string,
    body: QueryBody,
    timeoutMs: number,
  ): Promise<QueryResult | Rejection> {
    const options = { channel, isFinal: () => false, awaitsOwner: false };
    return this.#query(clientId, body, timeoutMs, options);
  }

  /**
   * One query in several envelopes, one for each shard. It is done when all receivers have replied.
   * @param channels of the shards; one scope
   * @param bodies of the envelopes
   * @param awaitsReplies false: no reply is requested
   * @param send publishes them, and resolves with the receivers of all of them together
   */
  queryShards(
    channels: readonly string[],
    bodies: readonly QueryBody[],
    timeoutMs: number,
    awaitsReplies: boolean,
    send: (envelopes: readonly Buffer[]) => Promise<SendResult>,
  ): Promise<QueryResult | Rejection> {
    const isFinal = awaitsReplies ? () => false : null;
    const replyChannel = this.#admit(channels[0]!, isFinal, true);
    if (typeof replyChannel === 'object') return Promise.resolve(replyChannel);
    const queryId = ++this.#lastQueryId;
    const askedId = replyChannel === undefined ? 0 : queryId;
    const envelopes = bodies.map((body) => this.#seal('', body, askedId, replyChannel));
    const bytes = envelopes.reduce((sum, { length }) => sum + length, 0);
    if (!this.options.memory.beginSend(bytes)) return Promise.resolve(shortOfMemory());
    const options = { channel: channels[0]!, isFinal, awaitsOwner: false };
    const query = this.#begin(queryId, replyChannel, timeoutMs, options);
    void send(envelopes).then((sent) => this.#onSent(query, bytes, sent));
    return query.result;
  }

  #query(
    clientId: string,
    body: QueryBody,
    timeoutMs: number,
    options: QueryOptions,
  ): Promise<QueryResult | Rejection> {
    const { link, memory } = this.options;
    const { channel, isFinal, send } = options;
    const replyChannel = this.#admit(channel, isFinal, send !== undefined);
    if (typeof replyChannel === 'object') return Promise.resolve(replyChannel);
    const queryId = ++this.#lastQueryId;
    const askedId = replyChannel === undefined ? 0 : queryId;
    const envelope = this.#seal(clientId, body, askedId, replyChannel);
    const bytes = envelope.length;
    if (!memory.beginSend(bytes)) return Promise.resolve(shortOfMemory());
    const query = this.#begin(queryId, replyChannel, timeoutMs, options);
    const onSent = (result: SendResult) => this.#onSent(query, bytes, result);
    if (send === undefined) void link.publish(channel, envelope).then(onSent);
    else send(channel, envelope, onSent);
    return query.result;
  }

  /** Returns the channel for the replies, if any can arrive, or why a query is not begun. */
  #admit(
    channel: string,
    isFinal: PendingQuery['isFinal'],
    hasSend: boolean,
  ): string | undefined | Rejection {
    const { channels, inFlightMax } = this.options;
    const downReason = channels.downReason(channel);
    if (downReason !== undefined) {
      return rejection('REDIS_UNAVAILABLE', `${downReason}; nothing was sent`);
    }
    const replyChannel = isFinal === null ? undefined : channels.replyChannelFor(channel);
    if (replyChannel === undefined && isFinal !== null && !hasSend) {
      const reason = 'Redis has not confirmed a reply channel of this process; retry later';
      return rejection('REDIS_UNAVAILABLE', reason);
    }
    if (this.#pending.size < inFlightMax) return replyChannel;
    const reason = `${inFlightMax} shard queries are in flight, the maximum; retry later`;
    return rejection('OVERLOADED', reason);
  }

  #begin(
    queryId: number,
    replyChannel: string | undefined,
    timeoutMs: number,
    options: QueryOptions,
  ): PendingQuery {
    const query = new PendingQuery(queryId, replyChannel !== undefined, options, this.#stalledMs);
    this.#pending.set(queryId, query);
    this.#deadlines.add(queryId, performance.now() + timeoutMs);
    return query;
  }

  /** @param bytes of the envelopes */
  #onSent(query: PendingQuery, bytes: number, result: SendResult): void {
    this.options.memory.endSend(bytes);
    query.observer?.onSent(result);
    if (result.type !== 'unknown') query.waits.sentAtMs = this.#nowMs;
    if (result.type === 'rejected') {
      this.#pending.delete(query.id);
      query.resolve(redisRejection(result.reason));
    } else if (result.type === 'decided' || !query.awaitsReplies) {
      this.#finish(query.id);
    } else if (result.type === 'published') {
      query.waits.receivers = result.receivers;
      if (isDone(query)) this.#finish(query.id);
    } else {
      // Replies show that it was published; without any, the query times out.
      query.isSendUnknown = true;
      if (isDone(query)) this.#finish(query.id);
    }
  }

  /** @param queryId 0: no reply is requested */
  #seal(clientId: string, body: QueryBody, queryId: number, replyChannel = ''): Buffer {
    if (body.$case === 'push' && body.value.clientIds.length === 0) {
      return sealPush(queryId, replyChannel, clientId, body.value);
    }
    const envelope = { queryId, replyChannel, clientId, body, id: '', seq: '', appendOffset: '' };
    return seal(ShardEnvelope.encode(envelope, this.#writer).finish());
  }

  /** Ends the waits of all queries after `withinMs`, with the replies so far: the process stops. */
  endWaits(withinMs: number): void {
    this.#waitsEndAtMs = performance.now() + withinMs;
    setTimeout(() => {
      for (const queryId of [...this.#pending.keys()]) this.#finish(queryId);
    }, withinMs).unref();
  }

  /** In ms of the monotonic clock; infinity until the process stops. */
  get waitsEndAtMs(): number {
    return this.#waitsEndAtMs;
  }

  get shardCount(): number {
    return this.options.shardCount;
  }

  get inFlightMax(): number {
    return this.options.inFlightMax;
  }

  shardOf(clientId: string): number {
    return shardOf(clientId, this.shardCount);
  }

  /** The channel of the client's shard. */
  channelOf(clientId: string): string {
    return this.#names.channelOf(this.shardOf(clientId));
  }

  /** @param leftMs time that the caller has, if that is less than a second */
  async queryPresence(
    clientId: string,
    leftMs = Number.POSITIVE_INFINITY,
  ): Promise<{ connections: Presence[]; complete: boolean } | Rejection> {
    const body = { $case: 'presence', value: {} } as const;
    const timeoutMs = Math.min(PRESENCE_MS_MAX, leftMs);
    const result = await this.query(clientId, body, timeoutMs, () => false);
    if ('code' in result) return result;
    const connections = result.bodies.flatMap((b) => (b.$case === 'presence' ? [b.value] : []));
    return { connections, complete: result.complete };
  }

  /** To be called with every batch of replies that arrives on a private channel of this process. */
  onReplies(batch: ReplyBatch): void {
    for (const reply of batch.replies) {
      const query = this.#pending.get(reply.queryId);
      // A late reply, or one of a newer version with a body unknown here.
      if (query === undefined || reply.body === undefined) continue;
      query.observer?.onReply(batch.edgeId, reply);
      query.waits.repliedAtMs = this.#nowMs;
      query.bodies = query.bodies === NO_BODIES ? [reply.body] : [...query.bodies, reply.body];
      query.others = Math.max(query.others, reply.others);
      // A second owner has not received the assignment that made it lose the shard.
      if (reply.owner && !query.hasOwnerReply) query.hasOwnerReply = true;
      else if (!reply.uninvolved) query.otherReplies++;
      if (query.isFinal?.(reply.body)) query.hasFinalReply = true;
      else noteReply(query, batch.edgeId, reply);
      if (isDone(query)) this.#finish(reply.queryId);
    }
  }

  #step(nowMs: number): void {
    this.#stalledMs += Math.max(0, nowMs - this.#nowMs - 2 * TIMEOUT_RESOLUTION_MS);
    this.#nowMs = nowMs;
    for (const queryId of this.#deadlines.takeExpired(nowMs)) this.#finish(queryId, true);
  }

  #finish(queryId: number, isTimedOut = false): void {
    const query = this.#pending.get(queryId);
    if (query === undefined) return;
    this.#pending.delete(queryId);
    const { bodies, waits } = query;
    // The check has a cost, and changes nothing about a final reply.
    const haveFollowed = query.hasFinalReply || this.options.haveEdgesFollowed(query.channel);
    const haveAllReplied = bodies.length > 0 && bodies.length === waits.receivers;
    const complete = isComplete(query) && haveFollowed;
    if (haveAllReplied && query.hasOwnerReply && !complete) this.#incomplete.inc();
    waits.stalledMs = this.#stalledMs - waits.stalledMs;
    waits.isTimedOut = isTimedOut;
    query.resolve({ bodies, haveAllReplied: haveAllReplied && haveFollowed, complete, waits });
  }
}

function shortOfMemory(): Rejection {
  return rejection(
    'OVERLOADED',
    'this process is short of memory; retry later, or through another one',
  );
}

/**
 * Distinguishes a Redis that is full or cannot persist, and says so, from one that is unavailable.
 */
export function redisRejection(reason: string): Rejection {
  const isFull = reason.startsWith('OOM') || reason.startsWith('MISCONF');
  return rejection(isFull ? 'STORAGE_FULL' : 'REDIS_UNAVAILABLE', reason);
}

/** Nothing is to be awaited any more: an edge that was not subscribed will not reply. */
function isDone(query: PendingQuery): boolean {
  const { hasFinalReply, awaitsOwner, bodies } = query;
  const { receivers } = query.waits;
  if (receivers === undefined) return hasFinalReply && query.isSendUnknown;
  const haveAllReplied = receivers > 0 && bodies.length >= receivers;
  return hasFinalReply || haveCountedReplied(query) || (!awaitsOwner && haveAllReplied);
}

function isComplete(query: PendingQuery): boolean {
  const { others, otherReplies, named, replied } = query;
  const areEnough = haveCountedReplied(query) && otherReplies >= others;
  return areEnough && named.every((edgeId) => replied.includes(edgeId));
}

function noteReply(query: PendingQuery, edgeId: string, { otherEdges }: Reply): void {
  query.replied = [...query.replied, edgeId];
  if (otherEdges.length > 0) query.named = [...query.named, ...otherEdges];
}

/** Whether the owner has replied, and as many edges as Redis has counted. */
function haveCountedReplied({ hasOwnerReply, waits, bodies }: PendingQuery): boolean {
  const { receivers } = waits;
  return hasOwnerReply && receivers !== undefined && bodies.length >= receivers;
}
