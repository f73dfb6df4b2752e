/**
 * Dispatches the messages of shard channels to the clients of this edge, and sends the replies.
 *
 * Every edge that is subscribed to a shard replies to every query, and states whether it owns the
 * shard. The router knows from Redis how many subscribers received its query. So it can distinguish
 * "the client is connected nowhere" from "the edge with the client has not replied yet", and it
 * finds a guest although the owner has already replied `absent`.
 */
import type { Counter } from 'prom-client';
import { NewestPushes } from '../../common/cluster/history/newest-pushes.js';
import {
  type CountersLink,
  readShardCounters,
} from '../../common/cluster/history/shard-counters.js';
import { NOT_STORED } from '../../common/cluster/inbox/push-together.js';
import { OUTCOME_NUMBERS } from '../../common/cluster/push-outcomes.js';
import { shardOf } from '../../common/cluster/shard.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import { type Logger, LogInterval } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import { readAnnounce } from '../../common/wire/protobuf/announce-envelope.js';
import {
  appendedOf,
  isIntactAppendix,
  type ReceivedPush,
  readPush,
} from '../../common/wire/push-envelope.js';
import { unseal } from '../../common/wire/sealed-message.js';
import {
  type AnnounceBody,
  type PushBody,
  type Reply,
  type ReplyTimes,
  ShardEnvelope,
  type StoredPushBody,
} from '../../proto/gen/longline/v1/envelope.js';
import type { Gaps } from '../report/gaps.js';
import type { MessageRates } from '../report/load.js';
import type { LostHistory } from './lost-history.js';
import type { PushTraces } from './push-traces.js';
import type { RedisClocks } from './redis-clocks.js';
import type { Replies } from './replies.js';
import { Sequences } from './sequences.js';
import type { ShardHandler, Shards } from './shards.js';
import type { Standing } from './standing.js';
import type { ShardClients, Target } from './targets.js';

export interface DeliveryOptions {
  readonly link: CountersLink;
  readonly names: ShardNames;
  readonly redisClocks: RedisClocks;
  readonly shards: Pick<Shards, 'owns' | 'ownsBeside' | 'isConfirmed' | 'hasClients'>;
  readonly clients: ShardClients;
  readonly standing: Standing;
  readonly replies: Replies;
  readonly traces: Pick<PushTraces, 'onPush' | 'onPushToMany'>;
  readonly rates: MessageRates;
  readonly gaps: Pick<Gaps, 'add'>;
  readonly lostHistory: Pick<LostHistory, 'onCounterFell' | 'onPushLost'>;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Counters that one poll reads at least, if there are as many. */
const POLLED_MIN = 64;

export class Delivery implements ShardHandler {
  readonly #sequences: Sequences;
  readonly #newest: NewestPushes;
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

  constructor(readonly options: DeliveryOptions) {
    const { link, names, metrics, lostHistory } = options;
    this.#sequences = new Sequences(names.shardCount);
    this.#newest = new NewestPushes({
      link,
      onLost: ({ channel, id }) => lostHistory.onPushLost(names.shardOf(channel), id),
    });
    link.idFloor.newestIdMs = () => this.#newest.newestMs();
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
    this.#newest.doubt(this.options.names.channelOf(shard));
    // Before the inboxes are read: they contain every push that the counter includes now.
    void this.#readCounters([shard]);
    this.options.standing.onConfirmed(shard);
    this.options.clients.onConfirmed(shard);
  }

  onUnproven(shard: number): void {
    this.options.standing.probe(shard);
  }

  /** Processing resumes when the subscription is confirmed; missed pushes are found then. */
  onLost(shard: number): void {
    this.#sequences.forget(shard);
    this.#lostAtMs.set(shard, performance.now());
  }

  onLeft(shard: number): void {
    this.#sequences.forget(shard);
    this.#lostAtMs.delete(shard);
    this.options.standing.onLeft(shard);
  }

  onMessage(shard: number, payload: Buffer): void {
    const push = readPush(payload);
    if (push !== undefined) return this.#onPush(shard, push);
    const announce = readAnnounce(payload);
    if (announce !== undefined) this.#onAnnounce(shard, announce);
    else this.#onOtherMessage(shard, payload);
  }

  #onAnnounce(shard: number, body: AnnounceBody): void {
    const { edgeIncarnation, announcements } = body;
    for (const each of announcements) {
      this.options.clients.onAnnounced(shard, edgeIncarnation, each);
    }
    const { standing, clients } = this.options;
    standing.onAnnounce(shard, body);
    if (body.connectionsEnded && !standing.isOwn(body)) clients.announceAgain(shard);
  }

  #onPush(shard: number, push: ReceivedPush): void {
    const { clients, names, rates, redisClocks } = this.options;
    const { clientId, id, seq, trace } = push;
    const heardMs = trace === undefined ? 0 : performance.now();
    if (id !== '') {
      if (!this.#onNumber(shard, seq, id)) return;
      this.#newest.onPush(names.channelOf(shard), clientId, id);
      redisClocks.observe(shard, Number.parseInt(id, 10), performance.now());
    }
    const outcome = clients.push(shard, clientId, push);
    if (outcome === 'written' || outcome === 'catchingUp') rates.count(shard, 1);
    const times = trace && this.options.traces.onPush(shard, push, outcome, heardMs);
    this.#reply(shard, push, { $case: outcome, value: {} }, times);
  }

  #reply(
    shard: number,
    { queryId, replyChannel }: Pick<ReceivedPush, 'queryId' | 'replyChannel'>,
    body: Reply['body'],
    times?: ReplyTimes,
  ): void {
    if (queryId === 0) return;
    const { standing, replies } = this.options;
    replies.add(replyChannel, { queryId, ...standing.of(shard), body, times });
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
      this.#onAnnounce(shard, envelope.body.value);
    } else if (envelope.body?.$case === 'push' && envelope.body.value.clientIds.length > 0) {
      this.#reply(shard, envelope, this.#pushToMany(shard, envelope.body.value));
    } else if (envelope.body?.$case === 'storedPush') {
      this.#onStoredPush(shard, envelope, envelope.body.value);
    } else if (envelope.body?.$case === 'push') {
      const { appendTo, appendEnd } = envelope.body.value;
      const appended = appendedOf(appendTo, envelope.appendOffset, appendEnd);
      const seq = Number(envelope.seq);
      this.#onPush(shard, { ...envelope, ...envelope.body.value, seq, appended });
    } else {
      const body = this.#answer(shard, envelope);
      if (body !== undefined) this.#reply(shard, envelope, body);
    }
  }

  /**
   * A push that one script has stored for several clients, with a number of each of their shards.
   * Another copy of it, of which it has processed the numbers before, has no reply of its own.
   */
  #onStoredPush(shard: number, envelope: ShardEnvelope, body: StoredPushBody): void {
    const { clientIds, clientCounts, firstIndex } = body;
    const ids = envelope.id.split(' ');
    const numbers = envelope.seq.split(' ');
    const clients = clientCounts.reduce((sum, count) => sum + count, 0);
    if (
      ids.length !== clientIds.length ||
      clients !== clientIds.length ||
      numbers.length !== clientCounts.length ||
      numbers.length !== body.shards.length
    ) {
      return this.#onMalformed(shard, 'it has no id for each client, or no number for each shard');
    }
    const outcomes = Buffer.alloc(ids.length);
    let from = 0;
    let isCopy = false;
    for (const [i, own] of body.shards.entries()) {
      const until = from + clientCounts[i]!;
      const isReached = own === shard || this.options.shards.ownsBeside(own, shard);
      const isMeant = numbers[i] !== NOT_STORED && isReached;
      if (
        isMeant &&
        !this.#pushStored(own, Number(numbers[i]), body, ids, { from, until }, outcomes)
      )
        isCopy = true;
      from = until;
    }
    if (!isCopy) {
      this.#reply(shard, envelope, { $case: 'multiPush', value: { outcomes, firstIndex } });
    }
  }

  /** Pushes to clients of one shard. Returns false for a push that was processed already. */
  #pushStored(
    shard: number,
    seq: number,
    push: StoredPushBody,
    ids: readonly string[],
    { from, until }: { readonly from: number; readonly until: number },
    outcomes: Buffer,
  ): boolean {
    const { clients, names, rates, redisClocks } = this.options;
    let newest = until - 1;
    while (newest >= from && ids[newest] === NOT_STORED) newest--;
    if (newest < from) {
      this.#onMalformed(shard, 'it has a number of a shard, and no id');
      return false;
    }
    // A copy: a part of a text keeps all of it in memory.
    const newestId = Buffer.from(ids[newest]!).toString();
    if (!this.#onNumber(shard, seq, newestId)) return false;
    this.#newest.onPush(names.channelOf(shard), push.clientIds[newest]!, newestId);
    redisClocks.observe(shard, Number.parseInt(newestId, 10), performance.now());
    const { payload, contentType, ttlMs, whenSlow } = push;
    for (let i = from; i < until; i++) {
      const id = ids[i]!;
      if (id === NOT_STORED) continue;
      const message = { id, payload, contentType, ttlMs, whenSlow };
      const outcome = clients.push(shard, push.clientIds[i]!, message);
      if (outcome === 'written' || outcome === 'catchingUp') rates.count(shard, 1);
      outcomes[i] = OUTCOME_NUMBERS[outcome];
    }
    return true;
  }

  /**
   * Reads the counters of those shards with clients, and of those owned, whose number is `part`
   * modulo `parts`. The last push before a silence may be lost, and no later push would reveal it.
   * Without clients, a counter that falls still shows that Redis has lost pushes. Reading all
   * counters at once would delay pushes; reading each alone would cost a command for each. So an
   * edge with few shards reads them in fewer parts. To be called with each part every few seconds.
   */
  pollShardCounters(part: number, parts: number): void {
    const { names, shards } = this.options;
    void this.#newest.step();
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
    const { lostHistory, names } = this.options;
    this.#newest.forget(names.channelOf(shard));
    lostHistory.onCounterFell(shard, before, now);
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
    for (const channel of channels) this.#newest.doubt(channel);
    const counters = await readShardCounters(link, channels);
    for (const [i, shard] of former.entries()) {
      const [before, counter] = [this.#sequences.highest(shard), counters[i]];
      if (counter === undefined || counter >= before) continue;
      this.#sequences.restart(shard, counter);
      this.#newest.forget(channels[i]!);
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
    this.options.gaps.add(performance.now());
    this.options.clients.onGap(shard);
  }

  /** Pushes to the clients of the shard, and to those of shards for which it may stand. */
  #pushToMany(shard: number, push: PushBody): Reply['body'] {
    const { clients, rates, traces } = this.options;
    const { clientIds, payload, contentType, whenSlow, trace } = push;
    const heardMs = trace === undefined ? 0 : performance.now();
    const message = { id: '', payload, contentType, ttlMs: 0, whenSlow };
    const targets = this.#targetsOf(shard, push);
    const found =
      push.shards.length > 0
        ? clients.pushSame(targets, message)
        : targets.map((target) => clients.push(target.shard, target.clientId, message));
    const outcomes = Buffer.alloc(clientIds.length);
    for (const [i, outcome] of found.entries()) {
      const target = targets[i]!;
      if (outcome === 'written' || outcome === 'catchingUp') rates.count(target.shard, 1);
      outcomes[target.index] = OUTCOME_NUMBERS[outcome];
    }
    if (trace !== undefined) traces.onPushToMany(push, trace, found, heardMs);
    return { $case: 'multiPush', value: { outcomes, firstIndex: 0 } };
  }

  /** The clients of a message for whose shards it stands. */
  #targetsOf(shard: number, { clientIds, shards, clientCounts }: PushBody): Target[] {
    const { names, standing } = this.options;
    const targets: Target[] = [];
    if (shards.length === 0) {
      for (const [index, clientId] of clientIds.entries()) {
        const own = shardOf(clientId, names.shardCount);
        if (standing.reachesAll(own, shard)) targets.push({ shard: own, clientId, index });
      }
      return targets;
    }
    let index = 0;
    for (const [i, own] of shards.entries()) {
      const isMeant = standing.reachesAll(own, shard);
      for (let left = clientCounts[i] ?? 0; left > 0 && index < clientIds.length; left--, index++) {
        if (isMeant) targets.push({ shard: own, clientId: clientIds[index]!, index });
      }
    }
    return targets;
  }

  /** Returns the body of the reply; undefined for an envelope that this version does not know. */
  #answer(shard: number, { clientId, body }: ShardEnvelope): Reply['body'] {
    const { clients, rates, standing } = this.options;
    switch (body?.$case) {
      case 'broadcast':
      case 'selectedBroadcast': {
        const isReached = (each: number) => standing.reachesAll(each, shard);
        const furtherShards = body.value.furtherShards.filter(isReached);
        const count = (each: number) => rates.count(each, 1);
        const counts = clients.broadcast([shard, ...furtherShards], body.value, count);
        return counts && { $case: 'broadcast', value: { ...counts, furtherShards } };
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
      case 'lostHistory':
        this.options.lostHistory.onPushLost(shard, body.value.id);
        return undefined;
      default:
        return undefined;
    }
  }
}
