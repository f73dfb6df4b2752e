/**
 * The private channels of this process, one on each master that holds a shard. They have two uses:
 *
 * - **Proof of delivery.** A connected socket proves nothing, so once a second a probe is published
 *   through each master to ourselves. A master whose probes do not come back is not delivering.
 * - **Replies.** Whoever asks something on a shard channel names the private channel on the same
 *   master, so that question and answer need the same master only.
 */
import { PrivateEnvelope, type ReplyBatch } from '../../proto/gen/longline/v1/envelope.js';
import { privateChannel, shardChannel, shardTags } from '../cluster/shard.js';
import type { Logger } from '../process/log.js';
import type { RedisLink } from './redis-link.js';
import type { ChannelHandler } from './shard-subscriber.js';

const PROBE_INTERVAL_MS = 1_000;
/** Two probes may be lost or late. */
export const PROOF_MS_MAX = 3_000;

export class PrivateChannels implements ChannelHandler {
  /** The channel on each master. */
  private channels: ReadonlyMap<string, string> = new Map();
  /** For each master when the newest probe that came back was sent. */
  private readonly provenAtMs = new Map<string, number>();
  private readonly candidates: readonly string[];
  private readonly probing: NodeJS.Timeout;

  /** Takes the answers that arrive; set before anything is asked. */
  onReplies: (batch: ReplyBatch) => void = () => {};

  /** @param processId unique per process start */
  constructor(
    private readonly link: Pick<RedisLink, 'publish' | 'subscriber'>,
    shardCount: number,
    processId: string,
    private readonly log: Logger,
  ) {
    this.candidates = shardTags(shardCount).map((tag) => privateChannel(tag, processId));
    this.follow();
    this.probing = setInterval(() => {
      this.follow();
      for (const channel of this.channels.values()) this.probe(channel);
    }, PROBE_INTERVAL_MS);
  }

  /** Each master that has not proven within three seconds that it delivers; empty when all have. */
  notDeliveringBecause(): string[] {
    return findUnproven(this.channels.keys(), this.provenAtMs, performance.now());
  }

  /**
   * Where to have answers about this shard sent: the confirmed channel on the shard's own master,
   * else any confirmed one; undefined when there is none.
   */
  replyChannelFor(shardTag: string): string | undefined {
    const { subscriber } = this.link;
    const nearest = this.channels.get(subscriber.masterOf(shardChannel(shardTag)) ?? '');
    if (nearest !== undefined && subscriber.isConfirmed(nearest)) return nearest;
    for (const channel of this.channels.values()) {
      if (subscriber.isConfirmed(channel)) return channel;
    }
    return undefined;
  }

  close(): void {
    clearInterval(this.probing);
    for (const channel of this.channels.values()) this.link.subscriber.unwant(channel);
    this.channels = new Map();
  }

  onMessage(channel: string, payload: Buffer): void {
    let body: PrivateEnvelope['body'];
    try {
      body = PrivateEnvelope.decode(payload).body;
    } catch (error) {
      this.log.warn({ channel, reason: (error as Error).message }, 'undecodable private envelope');
      return;
    }
    if (body?.$case === 'replies') this.onReplies(body.value);
    else if (body?.$case === 'probe') this.takeProbe(channel, body.value.nonce);
  }

  /** Proves at once, so that a healed master need not wait for the next round. */
  onConfirmed(channel: string): void {
    this.probe(channel);
  }

  /** Says nothing about the past: the proofs just grow old. */
  onLost(): void {}

  /** Moves the channels along with the topology. */
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
      if (!kept.has(channel)) subscriber.unwant(channel);
      if (channels.get(master) !== channel) this.provenAtMs.delete(master);
    }
    this.channels = channels;
    for (const channel of kept) subscriber.want(channel, this);
  }

  /** The nonce is the sending time on our own clock: a late probe proves no more than it should. */
  private probe(channel: string): void {
    const nonce = Math.floor(performance.now());
    const envelope = { body: { $case: 'probe' as const, value: { nonce } } };
    // A rejection needs no care: the probe is missed.
    void this.link.publish(channel, Buffer.from(PrivateEnvelope.encode(envelope).finish()));
  }

  private takeProbe(channel: string, nonce: number): void {
    for (const [master, itsChannel] of this.channels) {
      if (itsChannel === channel) this.provenAtMs.set(master, nonce);
    }
  }
}

/**
 * One of `candidates` for each master: the one it has for as long as that stays there, else the
 * first that lives there. A master without any shard gets none: nothing needs to be proven of it.
 */
export function choosePrivateChannels(
  masters: readonly string[],
  current: ReadonlyMap<string, string>,
  candidates: readonly string[],
  masterOf: (channel: string) => string | undefined,
): Map<string, string> {
  const chosen = new Map<string, string>();
  for (const master of masters) {
    const now = current.get(master);
    const isStill = now !== undefined && masterOf(now) === master;
    const channel = isStill ? now : candidates.find((candidate) => masterOf(candidate) === master);
    if (channel !== undefined) chosen.set(master, channel);
  }
  return chosen;
}

/** @param provenAtMs when the newest probe that came back through a master was sent */
export function findUnproven(
  masters: Iterable<string>,
  provenAtMs: ReadonlyMap<string, number>,
  nowMs: number,
): string[] {
  const reasons: string[] = [];
  for (const master of masters) {
    const atMs = provenAtMs.get(master);
    if (atMs === undefined) reasons.push(`no probe has come back yet through Redis ${master}`);
    else if (nowMs - atMs > PROOF_MS_MAX) {
      const ageSeconds = ((nowMs - atMs) / 1000).toFixed(1);
      reasons.push(`the last probe came back through Redis ${master} ${ageSeconds} s ago`);
    }
  }
  return reasons;
}
