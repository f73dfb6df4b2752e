/**
 * Dispatches the messages of shard channels to the clients of this edge, and sends the replies.
 *
 * Every edge that is subscribed to a shard replies to every query, and states whether it owns the
 * shard. The router knows from Redis how many subscribers received its query. So it can distinguish
 * "the client is connected nowhere" from "the edge with the client has not replied yet", and it
 * finds a guest although the owner has already replied `absent`.
 */
import type { Counter } from 'prom-client';
import {
  type CountersLink,
  readShardCounters,
} from '../../common/cluster/history/shard-counters.js';
import { OUTCOME_NUMBERS, type PushOutcome } from '../../common/cluster/push-outcomes.js';
import { shardOf } from '../../common/cluster/shard.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import { type Logger, LogInterval } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import { isIntactAppendix, type ReceivedPush, readPush } from '../../common/wire/push-envelope.js';
import { unseal } from '../../common/wire/sealed-message.js';
import {
  type Announcement,
  type PushBody,
  type Reply,
  ShardEnvelope,
} from '../../proto/gen/longline/v1/envelope.js';
import type { Presence } from '../../proto/gen/longline/v1/push.js';
import type { Message } from '../protocol/protocol.js';
import type { MessageRates } from '../report/load.js';
import type { Announcements } from './announcements.js';
import type { LostHistory } from './lost-history.js';
import type { RedisClocks } from './redis-clocks.js';
import type { Replies } from './replies.js';
import { Sequences } from './sequences.js';
import type { ShardHandler, Shards } from './shards.js';

/** Connections that a broadcast was written to, and those that it closed as slow. */
export interface BroadcastCounts {
  written: number;
  slow: number;
}

/** The clients of this edge, as a shard channel addresses them. */
export interface ShardClients {
  /** The subscription of a shard is confirmed, for the first time or after a loss. */
  onConfirmed(shard: number): void;
  /** Pushes of the shard were missed; the durable ones are in the inboxes. */
  onGap(shard: number): void;
  /** Inboxes of the shard may be lost, but not before `sinceMs` of the monotonic clock. */
  onHistoryLost(shard: number, sinceMs: number): void;
  /** An edge, possibly this one, has announced a connection. */
  onAnnounced(shard: number, edgeIncarnation: string, announcement: Announcement): void;
  push(shard: number, clientId: string, message: Message): PushOutcome;
  /**
   * Writes a live-only push to every client of the shards.
   * @param onWritten called with the shard of each client that it was written to
   */
  broadcast(
    shards: readonly number[],
    payload: Buffer,
    contentType: string,
    onWritten: (shard: number) => void,
  ): BroadcastCounts;
  presence(shard: number, clientId: string): Presence | undefined;
  /** Returns false if the client is not connected here. */
  disconnect(shard: number, clientId: string): boolean;
}

export interface DeliveryOptions {
  readonly link: CountersLink;
  readonly names: ShardNames;
  readonly redisClocks: RedisClocks;
  readonly shards: Pick<Shards, 'owns' | 'ownsBeside' | 'isConfirmed' | 'hasClients'>;
  readonly clients: ShardClients;
  readonly announcements: Announcements;
  readonly replies: Replies;
  readonly rates: MessageRates;
  readonly lostHistory: Pick<LostHistory, 'onCounterFell'>;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Counters that one poll reads at least, if there are as many. */
const POLLED_MIN = 64;

export class Delivery implements ShardHandler {
  readonly #sequences: Sequences;
  /** Shards whose subscription was lost and is needed, with the time of the loss. */
  readonly #lostAtMs = new Map<number, number>();
  /** Shards with a late push, whose counters are being read. */
  readonly #checkedShards = new Set<number>();
  #isCheckingFormer = false;
  /** Parts into which the polls of counters are divided now. */
  #pollParts = 1;
  /** Counters polled since the first part. */
  #polledCount = 0;
  readonly #gapSeconds: Counter;
  readonly #malformed: Counter;
  readonly #malformedLog = new LogInterval();
  readonly #gaps: Counter;

  constructor(readonly options: DeliveryOptions) {
    const { names, metrics } = options;
    this.#sequences = new Sequences(names.shardCount);
    this.#gaps = metrics.counter(
      'longline_edge_gaps_total',
      'Gaps in the sequence numbers of durable pushes of a shard; each causes a re-read of inboxes',
    );
    this.#gapSeconds = metrics.counter(
      'longline_edge_gap_seconds_total',
      'Seconds without a shard subscription, summed over shards when they recover',
    );
    this.#malformed = metrics.counter(
      'longline_edge_envelopes_malformed_total',
      'Messages on shard channels that could not be decoded or have a wrong checksum; each causes a ' +
        're-read of inboxes',
    );
  }

  onConfirmed(shard: number): void {
    const lostAtMs = this.#lostAtMs.get(shard);
    if (lostAtMs !== undefined) this.#gapSeconds.inc((performance.now() - lostAtMs) / 1_000);
    this.#lostAtMs.delete(shard);
    // Before the inboxes are read: they contain every push that the counter includes now.
    void this.#readCounters([shard]);
    this.options.clients.onConfirmed(shard);
  }

  onUnproven(shard: number): void {
    this.options.announcements.probe(shard);
  }

  /** Processing resumes when the subscription is confirmed; missed pushes are found then. */
  onLost(shard: number): void {
    this.#sequences.forget(shard);
    this.#lostAtMs.set(shard, performance.now());
  }

  onLeft(shard: number): void {
    this.#sequences.forget(shard);
    this.#lostAtMs.delete(shard);
  }

  onMessage(shard: number, payload: Buffer): void {
    const push = readPush(payload);
    if (push !== undefined) this.#onPush(shard, push);
    else this.#onOtherMessage(shard, payload);
  }

  #onPush(shard: number, push: ReceivedPush): void {
    const { clients, rates, redisClocks } = this.options;
    const { clientId, id, seq } = push;
    if (id !== '') {
      if (!this.#onNumber(shard, seq, id)) return;
      redisClocks.observe(shard, Number.parseInt(id, 10), performance.now());
    }
    const outcome = clients.push(shard, clientId, push);
    if (outcome === 'written' || outcome === 'catchingUp') rates.count(shard, 1);
    this.#reply(shard, push, { $case: outcome, value: {} });
  }

  #reply(
    shard: number,
    { queryId, replyChannel }: Pick<ReceivedPush, 'queryId' | 'replyChannel'>,
    body: Reply['body'],
  ): void {
    if (queryId === 0) return;
    const { shards, replies } = this.options;
    replies.add(replyChannel, { queryId, owner: shards.owns(shard), body });
  }

  /** Anything but a push to one client, and such a push of another version or a corrupt one. */
  #onOtherMessage(shard: number, payload: Buffer): void {
    const unsealed = unseal(payload);
    const isIntact = unsealed.type === 'intact' && isIntactAppendix(unsealed.appended, 0);
    if (!isIntact && unsealed.type !== 'unsealed') {
      return this.#onMalformed(shard, 'its checksum is wrong');
    }
    let envelope: ShardEnvelope;
    try {
      envelope = ShardEnvelope.decode(isIntact ? unsealed.content : payload);
    } catch (error) {
      return this.#onMalformed(shard, (error as Error).message);
    }
    if (envelope.body?.$case === 'announce') {
      const { edgeIncarnation, announcements } = envelope.body.value;
      const { clients } = this.options;
      for (const each of announcements) clients.onAnnounced(shard, edgeIncarnation, each);
    } else if (envelope.body?.$case === 'push' && envelope.body.value.clientIds.length > 0) {
      this.#reply(shard, envelope, this.#pushToMany(shard, envelope.body.value));
    } else if (envelope.body?.$case === 'push') {
      this.#onPush(shard, { ...envelope, ...envelope.body.value, seq: Number(envelope.seq) });
    } else {
      const body = this.#answer(shard, envelope);
      if (body !== undefined) this.#reply(shard, envelope, body);
    }
  }

  /**
   * Reads the counters of those shards with clients, and of those owned, whose number is `part`
   * modulo `parts`. The last push before a silence may be lost, and no later push would reveal it.
   * Without clients, a counter that falls still shows that Redis has lost pushes. Reading all
   * counters at once would delay pushes; reading each alone would cost a command for each. So an edge
   * with few shards reads them in fewer parts. To be called with each part every few seconds.
   */
  pollShardCounters(part: number, parts: number): void {
    const { names, shards } = this.options;
    if (part === 0) {
      this.#pollParts = Math.min(parts, Math.ceil(this.#polledCount / POLLED_MIN) || parts);
      this.#polledCount = 0;
    }
    if (part >= this.#pollParts) return;
    const polled: number[] = [];
    for (let shard = part; shard < names.shardCount; shard += this.#pollParts) {
      const isServed = shards.hasClients(shard) || shards.owns(shard);
      if (isServed && shards.isConfirmed(shard)) polled.push(shard);
    }
    this.#polledCount += polled.length;
    if (polled.length > 0) void this.#readCounters(polled);
  }

  async #readCounters(polled: readonly number[]): Promise<void> {
    const { link, names, shards } = this.options;
    const channels = polled.map((shard) => names.channelOf(shard));
    const before = polled.map((shard) => this.#sequences.highest(shard));
    const counters = await readShardCounters(link, channels);
    for (const [i, shard] of polled.entries()) {
      const counter = counters[i];
      // Undefined while Redis is unreachable: the next poll reads it.
      if (counter === undefined || !shards.isConfirmed(shard)) continue;
      // Another reading of the counter, or a push, may have shown the loss meanwhile.
      if (counter < Math.min(before[i]!, this.#sequences.highest(shard))) {
        this.#sequences.restart(shard, counter);
        this.#onLostWrites(shard, before[i]!, counter);
      }
      if (!this.#sequences.onCounter(shard, counter)) this.#onGap(shard);
    }
  }

  /** Returns false for a push that has been processed already. */
  #onNumber(shard: number, seq: number, id: string): boolean {
    const before = this.#sequences.highest(shard);
    const order = this.#sequences.onPush(shard, seq, id);
    if (order === 'reassigned') this.#onLostWrites(shard, before, seq);
    if (order === 'late') this.#checkCounter(shard);
    if (order === 'gap' || order === 'reassigned') this.#onGap(shard);
    return order !== 'duplicate';
  }

  /** One read at a time: it tells a push that arrives late from numbers that are assigned again. */
  #checkCounter(shard: number): void {
    if (this.#checkedShards.has(shard)) return;
    this.#checkedShards.add(shard);
    void this.#readCounters([shard]).then(() => this.#checkedShards.delete(shard));
  }

  #onLostWrites(shard: number, before: number, now: number): void {
    this.options.lostHistory.onCounterFell(shard, before, now);
    if (this.#isCheckingFormer) return;
    this.#isCheckingFormer = true;
    void this.#checkFormerShards().then(() => {
      this.#isCheckingFormer = false;
    });
  }

  /**
   * Reads the counters of the shards that this edge does not serve any more: it may be the only one
   * left that knows what they were before Redis lost writes.
   */
  async #checkFormerShards(): Promise<void> {
    const { link, names, shards, lostHistory } = this.options;
    const former: number[] = [];
    for (let shard = 0; shard < names.shardCount; shard++) {
      const isServed = shards.hasClients(shard) || shards.owns(shard);
      if (!isServed && this.#sequences.highest(shard) > 0) former.push(shard);
    }
    if (former.length === 0) return;
    const channels = former.map((shard) => names.channelOf(shard));
    const counters = await readShardCounters(link, channels);
    for (const [i, shard] of former.entries()) {
      const [before, counter] = [this.#sequences.highest(shard), counters[i]];
      if (counter === undefined || counter >= before) continue;
      this.#sequences.restart(shard, counter);
      lostHistory.onCounterFell(shard, before, counter);
    }
  }

  /** The message may have been a durable push, which is in an inbox. */
  #onMalformed(shard: number, reason: string): void {
    this.#malformed.inc();
    if (this.#malformedLog.isDue(performance.now())) {
      this.options.log.warn({ shard, reason }, 'dropped a malformed envelope');
    }
    this.options.clients.onGap(shard);
  }

  #onGap(shard: number): void {
    this.#gaps.inc();
    this.options.clients.onGap(shard);
  }

  /** Pushes to the clients of the shard, and to those of shards for which it may stand. */
  #pushToMany(shard: number, { clientIds, ...push }: PushBody): Reply['body'] {
    const { clients, names, rates, shards } = this.options;
    const message = { id: '', ...push };
    const outcomes = Buffer.alloc(clientIds.length);
    for (const [i, clientId] of clientIds.entries()) {
      const own = shardOf(clientId, names.shardCount);
      if (own !== shard && !shards.ownsBeside(own, shard)) continue;
      const outcome = clients.push(own, clientId, message);
      if (outcome === 'written' || outcome === 'catchingUp') rates.count(own, 1);
      outcomes[i] = OUTCOME_NUMBERS[outcome];
    }
    return { $case: 'multiPush', value: { outcomes } };
  }

  /** Returns the body of the reply; undefined for an envelope that this version does not know. */
  #answer(shard: number, { clientId, body }: ShardEnvelope): Reply['body'] {
    const { clients, rates, shards } = this.options;
    switch (body?.$case) {
      case 'broadcast': {
        const { payload, contentType } = body.value;
        const furtherShards = body.value.furtherShards.filter((each) =>
          shards.ownsBeside(each, shard),
        );
        const count = (each: number) => rates.count(each, 1);
        const counts = clients.broadcast([shard, ...furtherShards], payload, contentType, count);
        return { $case: 'broadcast', value: { ...counts, furtherShards } };
      }
      case 'presence': {
        const presence = clients.presence(shard, clientId);
        if (presence === undefined) return { $case: 'absent', value: {} };
        return { $case: 'presence', value: presence };
      }
      case 'disconnect': {
        const wasConnected = clients.disconnect(shard, clientId);
        return { $case: wasConnected ? 'closed' : 'absent', value: {} };
      }
      default:
        return undefined;
    }
  }
}
