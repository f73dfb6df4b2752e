import type { ChannelHandler } from '../../common/redis/shard-subscriber.js';

/** Records the messages of its channels, and which subscriptions are confirmed or lost. */
export class RecordingSubscriber implements ChannelHandler {
  /** By channel. */
  readonly messages = new Map<string, Buffer[]>();
  readonly confirmed = new Set<string>();
  /** Lost, and not confirmed again. */
  readonly lost = new Set<string>();
  losses = 0;

  onMessage(channel: string, payload: Buffer): void {
    this.messages.set(channel, [...(this.messages.get(channel) ?? []), payload]);
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
