import type { ChannelHandler } from '../../common/redis/shard-subscriber.js';

/** Remembers what a subscriber told it. */
export class Ear implements ChannelHandler {
  readonly heard = new Map<string, Buffer[]>();
  /** Now confirmed; and lost since. */
  readonly confirmed = new Set<string>();
  readonly lost = new Set<string>();
  losses = 0;

  onMessage(channel: string, payload: Buffer): void {
    this.heard.set(channel, [...(this.heard.get(channel) ?? []), payload]);
  }

  onConfirmed(channel: string): void {
    this.confirmed.add(channel);
    this.lost.delete(channel);
  }

  onLost(channel: string): void {
    this.losses++;
    this.lost.add(channel);
    this.confirmed.delete(channel);
  }
}
