/**
 * The private channels of this process, one on each master that has a shard. They have two uses:
 *
 * - **Proof of delivery.** A connected socket proves nothing. So the process publishes a probe to
 *   itself through each master once a second. A master whose probes do not return is not
 *   delivering. One that does not even publish them is down; else it still stores pushes.
 * - **Replies.** A query on a shard channel names the private channel on the same master for its
 *   replies, so that query and replies depend on one master only.
 */
import type { Counter } from 'prom-client';
import { PrivateEnvelope, type ReplyBatch } from '../../proto/gen/longline/v1/envelope.js';
import { type Logger, LogInterval } from '../process/log.js';
import type { Metrics } from '../process/metrics.js';
import type { Readiness } from '../process/readiness.js';
import type { RedisLink } from '../redis/redis-link.js';
import type { ChannelHandler } from '../redis/shard-subscriber.js';
import { readReplies } from '../wire/protobuf/reply-batch.js';
import { seal, unseal } from '../wire/sealed-message.js';
import { shardTags } from './shard.js';

const PROBE_INTERVAL_MS = 1_000;
/** A probe proves delivery for this long: two of its successors may be lost or late. */
export const PROOF_MS_MAX = 3_000;
/**
 * Probes in a row that were not published after which a master counts as down. Counted, not timed:
 * a process that was itself suspended for long has sent only one.
 */
const UNPUBLISHED_MAX = 3;

export class PrivateChannels implements ChannelHandler {
  /** By master. */
  private channels: ReadonlyMap<string, string> = new Map();
  /** By master: sending time of the newest probe that returned, in ms of the monotonic clock. */
  private readonly provenAtMs = new Map<string, number>();
  /** The same of the newest probe that Redis has published, returned or not. */
  private readonly publishedAtMs = new Map<string, number>();
  /** By master: probes sent since one was published. */
  private readonly unpublished = new Map<string, number>();
  /** Masters that are down. Empty most of the time, so that each push can ask. */
  private readonly down = new Set<string>();
  private readonly candidates: readonly string[];
  private readonly probeTimer: NodeJS.Timeout;
  private readonly malformed: Counter;
  private readonly malformedLog = new LogInterval();

  /** Receives replies; to be set before the first query. */
  onReplies: (batch: ReplyBatch) => void = () => {};

  /** @param processId unique per process start */
  constructor(
    private readonly link: Pick<RedisLink, 'publish' | 'subscriber' | 'names' | 'masterCheck'>,
    shardCount: number,
    processId: string,
    private readonly log: Logger,
    metrics: Metrics,
  ) {
    metrics.gauges(
      'longline_redis_master_delivers',
      '1: a probe of this process returned through the Redis master in the last three seconds; else 0',
      'master',
      () => this.masters().map(({ address, delivers }) => [address, delivers ? 1 : 0]),
    );
    this.malformed = metrics.counter(
      'longline_redis_private_envelopes_malformed_total',
      'Messages on private channels that could not be decoded or have a wrong checksum',
    );
    this.candidates = shardTags(shardCount).map((tag) => link.names.privateChannel(tag, processId));
    this.follow();
    this.probeTimer = setInterval(() => {
      this.follow();
      for (const [master, channel] of this.channels) {
        this.countUnpublished(master);
        void this.probe(channel);
      }
    }, PROBE_INTERVAL_MS);
  }

  /** One reason for each master without a proof of delivery in the last three seconds. */
  notDeliveringReasons(): string[] {
    return findUnproven(this.channels.keys(), this.provenAtMs, performance.now());
  }

  /**
   * Not ready while no master delivers, or, for a role that can do a part of its work without
   * subscriptions, while no master publishes either.
   */
  readiness(need: 'delivery' | 'publishing'): Readiness {
    const reasons = this.notDeliveringReasons();
    const masters = [...this.channels.keys()];
    const usableAtMs = need === 'delivery' ? this.provenAtMs : this.publishedAtMs;
    const unusable = findUnproven(masters, usableAtMs, performance.now());
    const degraded = this.link.masterCheck.reasons();
    return unusable.length < masters.length
      ? { notReady: [], degraded: [...reasons, ...degraded] }
      : { notReady: reasons, degraded };
  }

  /** All masters, and whether a probe returned through each in the last three seconds. */
  masters(): { address: string; delivers: boolean }[] {
    return [...this.channels.keys()].map((address) => ({
      address,
      delivers: this.delivers(address),
    }));
  }

  /** Masters without a proof of delivery in the last three seconds. */
  notDelivering(): string[] {
    return [...this.channels.keys()].filter((master) => !this.delivers(master));
  }

  /** Why nothing can be sent through the master of a shard; undefined: it can be tried. */
  downReason(shardChannel: string): string | undefined {
    if (this.down.size === 0) return undefined;
    const master = this.link.subscriber.masterOf(shardChannel);
    if (master === undefined || !this.down.has(master)) return undefined;
    return findUnproven([master], this.provenAtMs, performance.now())[0];
  }

  private delivers(master: string): boolean {
    return findUnproven([master], this.provenAtMs, performance.now()).length === 0;
  }

  /**
   * The channel for replies about a shard: the confirmed channel on the shard's own master, else
   * any confirmed one; undefined if there is none.
   */
  replyChannelFor(shardChannel: string): string | undefined {
    const { subscriber } = this.link;
    const nearest = this.channels.get(subscriber.masterOf(shardChannel) ?? '');
    if (nearest !== undefined && subscriber.isConfirmed(nearest)) return nearest;
    for (const channel of this.channels.values()) {
      if (subscriber.isConfirmed(channel)) return channel;
    }
    return undefined;
  }

  close(): void {
    clearInterval(this.probeTimer);
    for (const channel of this.channels.values()) this.link.subscriber.unsubscribe(channel);
    this.channels = new Map();
  }

  onMessage(channel: string, payload: Buffer): void {
    const batch = readReplies(payload);
    if (batch !== undefined) return this.onReplies(batch);
    const unsealed = unseal(payload);
    if (unsealed.type === 'corrupt') return this.onMalformed(channel, 'its checksum is wrong');
    let body: PrivateEnvelope['body'];
    try {
      body = PrivateEnvelope.decode(unsealed.type === 'intact' ? unsealed.content : payload).body;
    } catch (error) {
      return this.onMalformed(channel, (error as Error).message);
    }
    if (body?.$case === 'replies') this.onReplies(body.value);
    else if (body?.$case === 'probe') this.onProbe(channel, body.value.nonce);
  }

  /** A lost reply makes a verdict UNKNOWN, and a lost probe proves nothing. */
  private onMalformed(channel: string, reason: string): void {
    this.malformed.inc();
    if (this.malformedLog.isDue(performance.now())) {
      this.log.warn({ channel, reason }, 'dropped a malformed private envelope');
    }
  }

  /** Probes at once, so that readiness does not wait for the next interval after an outage. */
  onConfirmed(channel: string): void {
    void this.probe(channel);
  }

  /** Does nothing: without new probes, the last proof expires. */
  onLost(): void {}

  /** Updates the channels to the current masters. */
  private follow(): void {
    const { subscriber } = this.link;
    const channels = choosePrivateChannels(
      subscriber.masters(),
      this.channels,
      this.candidates,
      (channel) => subscriber.masterOf(channel),
    );
    const kept = new Set(channels.values());
    for (const [master, channel] of this.channels) {
      if (!kept.has(channel)) subscriber.unsubscribe(channel);
      if (channels.get(master) === channel) continue;
      this.provenAtMs.delete(master);
      this.publishedAtMs.delete(master);
      this.unpublished.delete(master);
      this.down.delete(master);
    }
    this.channels = channels;
    for (const channel of kept) subscriber.subscribe(channel, this);
  }

  /**
   * The nonce is the sending time on our own clock, so a late probe proves no more than it should.
   */
  private async probe(channel: string): Promise<void> {
    const nonce = Math.floor(performance.now());
    const envelope = { body: { $case: 'probe' as const, value: { nonce } } };
    const bytes = seal(PrivateEnvelope.encode(envelope).finish());
    const { type } = await this.link.publish(channel, bytes);
    if (type === 'published') this.onPublished(channel, nonce);
  }

  private countUnpublished(master: string): void {
    const unpublished = this.unpublished.get(master) ?? 0;
    this.unpublished.set(master, unpublished + 1);
    if (unpublished < UNPUBLISHED_MAX || this.down.has(master)) return;
    this.down.add(master);
    this.log.warn({ redis: master }, 'Redis does not answer: nothing is sent through this master');
  }

  /** Redis has published a probe, whether or not it returns: this process may not be subscribed. */
  private onPublished(probedChannel: string, nonce: number): void {
    for (const [master, channel] of this.channels) {
      if (channel !== probedChannel) continue;
      this.publishedAtMs.set(master, nonce);
      this.unpublished.set(master, 0);
      if (this.down.delete(master)) this.log.info({ redis: master }, 'Redis answers again');
    }
  }

  private onProbe(probedChannel: string, nonce: number): void {
    for (const [master, channel] of this.channels) {
      if (channel === probedChannel) this.provenAtMs.set(master, nonce);
    }
  }
}

/**
 * Chooses one of `candidates` for each master: its current channel while that is still in a slot of
 * the master, else the first candidate that is. A master without shards needs no proof and gets
 * none.
 */
export function choosePrivateChannels(
  masters: readonly string[],
  current: ReadonlyMap<string, string>,
  candidates: readonly string[],
  masterOf: (channel: string) => string | undefined,
): Map<string, string> {
  const chosen = new Map<string, string>();
  for (const master of masters) {
    const existing = current.get(master);
    const isStill = existing !== undefined && masterOf(existing) === master;
    const channel = isStill
      ? existing
      : candidates.find((candidate) => masterOf(candidate) === master);
    if (channel !== undefined) chosen.set(master, channel);
  }
  return chosen;
}

/** @param provenAtMs by master: sending time of the newest probe that returned */
export function findUnproven(
  masters: Iterable<string>,
  provenAtMs: ReadonlyMap<string, number>,
  nowMs: number,
): string[] {
  const reasons: string[] = [];
  for (const master of masters) {
    const atMs = provenAtMs.get(master);
    if (atMs === undefined) reasons.push(`no probe has returned through Redis ${master} yet`);
    else if (nowMs - atMs > PROOF_MS_MAX) {
      const ageSeconds = ((nowMs - atMs) / 1000).toFixed(1);
      reasons.push(`the last probe returned through Redis ${master} ${ageSeconds} s ago`);
    }
  }
  return reasons;
}
