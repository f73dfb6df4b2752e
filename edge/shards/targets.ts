/** The clients of this edge, as the messages of shard channels address them. */
import type { PushOutcome } from '../../common/cluster/push-outcomes.js';
import type { Announcement, BroadcastBody } from '../../proto/gen/longline/v1/envelope.js';
import type { Presence } from '../../proto/gen/longline/v1/push.js';
import type { Message } from '../protocol/protocol.js';

/** Connections that were written to, that were closed as slow, and slow ones that stay. */
export interface WriteCounts {
  written: number;
  slow: number;
  dropped: number;
}

/** Further connections did not get a broadcast: their labels do not match, or are unknown. */
export interface BroadcastCounts extends WriteCounts {
  readonly notSelected: number;
  readonly labelsUnknown: number;
}

export type BroadcastPush = Pick<
  BroadcastBody,
  'payload' | 'contentType' | 'selector' | 'whenSlow'
>;

/** A client of a message to several. */
export interface Target {
  readonly shard: number;
  readonly clientId: string;
  /** Index of the client in the message. */
  readonly index: number;
}

export interface ShardClients {
  /** The subscription of a shard is confirmed, for the first time or after a loss. */
  onConfirmed(shard: number): void;
  /** Pushes of the shard were missed; the durable ones are in the inboxes. */
  onGap(shard: number): void;
  /** Inboxes of the shard may be lost, but not before `sinceMs` of the monotonic clock. */
  onHistoryLost(shard: number, sinceMs: number): void;
  /** The events may say that connections have ended which are here. */
  announceAgain(shard: number): void;
  /** An edge, possibly this one, has announced a connection. */
  onAnnounced(shard: number, edgeIncarnation: string, announcement: Announcement): void;
  push(shard: number, clientId: string, message: Message): PushOutcome;
  /** Writes a live-only push to several clients, each once. Returns an outcome for each. */
  pushSame(targets: readonly Target[], message: Message): PushOutcome[];
  /**
   * Writes a live-only push to the clients of the shards that its selector selects; an empty one
   * selects all. Returns undefined for a selector that cannot be parsed.
   * @param onWritten called with the shard of each client that it was written to
   */
  broadcast(
    shards: readonly number[],
    push: BroadcastPush,
    onWritten: (shard: number) => void,
  ): BroadcastCounts | undefined;
  presence(shard: number, clientId: string): Presence | undefined;
  /** Returns false if the client is not connected here. */
  disconnect(shard: number, clientId: string): boolean;
}
