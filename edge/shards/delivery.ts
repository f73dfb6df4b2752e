/**
 * What comes over the channel of a shard, and what is answered.
 *
 * Every edge that is subscribed to the shard answers every question, and says whether it owns the
 * shard. The shardQueries knows from Redis how many subscribers its question had, so it can tell "the
 * client is nowhere" from "the answer of the edge that holds it has not come yet": a guest is found
 * although the owner has already said that it does not have it.
 */
import type { Counter } from 'prom-client';
import { readShardCounters } from '../../common/cluster/inbox.js';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import type { Connection } from '../../common/transport/transport.js';
import {
  type Announcement,
  type Reply,
  ShardEnvelope,
} from '../../proto/gen/longline/v1/envelope.js';
import type { MessageRates } from '../report/load.js';
import type { Clients } from '../session/clients.js';
import type { Replies } from './replies.js';
import { Sequences } from './sequences.js';
import type { ShardHandler, Shards } from './shards.js';

/** An announcement that has not come back after this long is sent again. */
const ANNOUNCEMENT_OVERDUE_MS = 3_000;
/** Keeps one envelope well below a megabyte. */
const ANNOUNCEMENTS_PER_ENVELOPE_MAX = 1_000;

export class Delivery implements ShardHandler {
  /** To be announced at the end of this turn, by shard. */
  readonly #announcements = new Map<number, Announcement[]>();
  readonly #sequences: Sequences;
  /** Shards that are wanted and whose subscription was lost, with the time. */
  readonly #lostAtMs = new Map<number, number>();
  readonly #gapSeconds: Counter;
  readonly #malformed: Counter;
  readonly #gaps: Counter;
  /** Set once, before anything is subscribed: clients, shards and this know each other. */
  clients!: Clients;
  shards!: Shards;

  constructor(
    readonly link: Pick<RedisLink, 'publish' | 'execute' | 'isCluster'>,
    shardCount: number,
    readonly replies: Replies,
    readonly rates: MessageRates,
    readonly log: Logger,
    metrics: Metrics,
  ) {
    this.#sequences = new Sequences(shardCount);
    this.#gaps = metrics.counter(
      'longline_edge_gaps_total',
      'Gaps found in the numbers of the durable pushes of a shard; each leads to a re-read.',
    );
    this.#gapSeconds = metrics.counter(
      'longline_edge_gap_seconds_total',
      'Seconds that shards were without their subscription, summed over shards as they heal.',
    );
    this.#malformed = metrics.counter(
      'longline_edge_envelopes_malformed_total',
      'Messages on shard channels that could not be decoded.',
    );
  }

  onConfirmed(shard: number): void {
    const lostAtMs = this.#lostAtMs.get(shard);
    if (lostAtMs !== undefined) this.#gapSeconds.inc((performance.now() - lostAtMs) / 1_000);
    this.#lostAtMs.delete(shard);
    // Asked before the inboxes are read: what is counted now, they hold.
    void this.#lookAtCounters([shard]);
    this.clients.onConfirmed(shard);
  }

  /** An announcement of nobody: it means nothing to others, and comes back to us. */
  onUnproven(shard: number): void {
    this.#publish(shard, []);
  }

  /** Nothing more is done until the subscription is back: what was missed is found out then. */
  onLost(shard: number): void {
    this.#sequences.forget(shard);
    this.#lostAtMs.set(shard, performance.now());
  }

  onLeft(shard: number): void {
    this.#sequences.forget(shard);
    this.#lostAtMs.delete(shard);
  }

  onMessage(shard: number, payload: Buffer): void {
    let envelope: ShardEnvelope;
    try {
      envelope = ShardEnvelope.decode(payload);
    } catch (error) {
      this.#malformed.inc();
      this.log.warn({ shard, err: error }, 'dropped a malformed envelope');
      return;
    }
    if (envelope.body?.$case === 'announce') {
      const { edgeIncarnation, announcements } = envelope.body.value;
      for (const announced of announcements) this.#onAnnounced(shard, edgeIncarnation, announced);
      return;
    }
    if (envelope.seq !== '') this.#count(shard, Number(envelope.seq));
    const answer = this.#answer(shard, envelope);
    if (answer === undefined || envelope.queryId === 0) return;
    const reply: Reply = {
      queryId: envelope.queryId,
      owner: this.shards.owns(shard),
      body: answer,
    };
    this.replies.add(envelope.replyChannel, reply);
  }

  /** Sends the announcement of a connection at the end of this turn. */
  announce(connection: Connection, renewed: boolean): void {
    const { table, takeover } = this.clients;
    const shard = table.shardOf(connection);
    takeover.announcing(connection, Date.now());
    if (this.#announcements.size === 0) setImmediate(() => this.#flushAnnouncements());
    const announcement = { clientId: table.clientIdOf(connection), connection, renewed };
    const pending = this.#announcements.get(shard);
    if (pending === undefined) this.#announcements.set(shard, [announcement]);
    else pending.push(announcement);
  }

  /**
   * One step of reading the counters of the shards that have clients here: the last push before a
   * silence may be lost, and no later one would show it. Whoever reads all of them at once keeps
   * pushes waiting. To be called with each part every few seconds.
   */
  lookAtCounters(part: number, parts: number): void {
    const { table } = this.clients;
    const shards: number[] = [];
    for (let shard = part; shard < table.shardCount; shard += parts) {
      if (table.countOf(shard) > 0 && this.shards.isConfirmed(shard)) shards.push(shard);
    }
    if (shards.length > 0) void this.#lookAtCounters(shards);
  }

  /** Sends again what must be presumed lost. To be called about once a second. */
  sweep(nowMs: number): void {
    const overdue = [...this.clients.takeover.overdue(nowMs - ANNOUNCEMENT_OVERDUE_MS)];
    for (const connection of overdue) this.announce(connection, true);
  }

  async #lookAtCounters(shards: readonly number[]): Promise<void> {
    const tags = shards.map((shard) => this.shards.tagOf(shard));
    const counters = await readShardCounters(this.link, tags);
    for (const [i, shard] of shards.entries()) {
      const counter = counters[i];
      // Unknown while Redis is away: the next look will tell.
      if (counter === undefined || !this.shards.isConfirmed(shard)) continue;
      if (!this.#sequences.onCounter(shard, counter)) this.#onGap(shard);
    }
  }

  #count(shard: number, seq: number): void {
    if (!this.#sequences.onPush(shard, seq)) this.#onGap(shard);
  }

  #onGap(shard: number): void {
    this.#gaps.inc();
    this.clients.onGap(shard);
  }

  #answer(shard: number, envelope: ShardEnvelope): Reply['body'] {
    const { clientId, id, body } = envelope;
    switch (body?.$case) {
      case 'push': {
        const outcome = this.clients.push(shard, clientId, { id, ...body.value });
        if (outcome === 'written' || outcome === 'catchingUp') this.rates.count(shard, 1);
        return { $case: outcome, value: {} };
      }
      case 'broadcast': {
        const { payload, contentType } = body.value;
        const counts = this.clients.broadcast(shard, payload, contentType);
        this.rates.count(shard, counts.written);
        return { $case: 'broadcast', value: counts };
      }
      case 'presence': {
        const presence = this.clients.presence(shard, clientId);
        if (presence === undefined) return { $case: 'absent', value: {} };
        return { $case: 'presence', value: presence };
      }
      case 'disconnect': {
        const wasHere = this.clients.disconnect(shard, clientId);
        return { $case: wasHere ? 'closed' : 'absent', value: {} };
      }
      default:
        // Of a newer version than ours: whoever asked will not hear from us.
        return undefined;
    }
  }

  #onAnnounced(shard: number, edgeIncarnation: string, announced: Announcement): void {
    const { table, takeover } = this.clients;
    const { connection, renewed } = announced;
    const found = table.find(shard, announced.clientId);
    // One that was not answered yet was not announced either: its own announcement comes later.
    const held = found !== undefined && table.stateOf(found) === 'opening' ? undefined : found;
    const decision = takeover.onAnnounced({ edgeIncarnation, connection, renewed }, held);
    if (decision === 'close') this.clients.end(held!, 'session_replaced');
    else if (decision === 'announce') this.announce(held!, false);
  }

  #flushAnnouncements(): void {
    for (const [shard, announcements] of this.#announcements) {
      while (announcements.length > ANNOUNCEMENTS_PER_ENVELOPE_MAX) {
        this.#publish(shard, announcements.splice(0, ANNOUNCEMENTS_PER_ENVELOPE_MAX));
      }
      this.#publish(shard, announcements);
    }
    this.#announcements.clear();
  }

  #publish(shard: number, announcements: Announcement[]): void {
    const { edgeIncarnation } = this.clients.takeover;
    const envelope: ShardEnvelope = {
      queryId: 0,
      replyChannel: '',
      clientId: '',
      id: '',
      seq: '',
      body: { $case: 'announce', value: { edgeIncarnation, announcements } },
    };
    const bytes = Buffer.from(ShardEnvelope.encode(envelope).finish());
    // Whether it arrived is seen when it comes back over the channel, and only then.
    void this.link.publish(this.shards.channelOf(shard), bytes);
  }
}
