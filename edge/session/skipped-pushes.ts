/**
 * Skips pushes that a device cannot receive, so that they do not keep later ones back: one that the
 * device calls too large, by its close code or by the maximum in its connect request, at once; one
 * after which connections end again and again, after `DELIVERY_TRIES_MAX` tries.
 *
 * Nothing is kept per connection: the newest id that was sent contains the time of its push by the
 * clock of Redis, and a push from the backlog is sent after the connect.
 */
import type { Counter } from 'prom-client';
import type { EventBounds } from '../../common/cluster/events/event-stream.js';
import { parseMessageId } from '../../common/cluster/inbox.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import { countDeliveryTry, skipLargestPush, skipPush } from '../../common/cluster/undelivered.js';
import { type Logger, LogInterval } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { ScriptLink } from '../../common/redis/script.js';
import type { Connection } from '../../common/transport/transport.js';
import type { SkippedPush } from '../../proto/gen/longline/v1/edge_session.js';
import type { EndReason } from '../protocol/protocol.js';
import type { RedisClocks } from '../shards/redis-clocks.js';
import type { Connections } from './connections.js';

/** A connection that ends later than this after its newest push did not end because of it. */
const SOON_MS = 10_000;
/** Bound on what waits for the next report to control. */
const REPORTED_MAX = 100;
/** Bound on scripts that wait for Redis: after an outage many connections end at once. */
const RUNNING_MAX = 1_024;

/**
 * - `too_large`: the device closed the connection because of its size;
 * - `over_limit`: it exceeds the maximum that the device has requested;
 * - `disconnects`: connections ended soon after it was sent, too often in a row;
 * - `corrupt`: its entry in the inbox has a wrong checksum.
 */
type SkipReason = 'too_large' | 'over_limit' | 'disconnects' | 'corrupt';

export interface SkippedPushesOptions {
  readonly table: Connections;
  readonly link: ScriptLink;
  readonly names: Pick<ShardNames, 'channelOf'>;
  readonly redisClocks: Pick<RedisClocks, 'elapsedMs'>;
  /** Undefined: no events of pushes are written. */
  readonly events: EventBounds | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export class SkippedPushes {
  readonly #skipped: Counter<'reason'>;
  readonly #corruptLog = new LogInterval();
  #unreported: SkippedPush[] = [];
  #running = 0;

  constructor(readonly options: SkippedPushesOptions) {
    this.#skipped = options.metrics.counter(
      'longline_edge_pushes_skipped_total',
      'Durable pushes removed from inboxes because they cannot be delivered, by reason',
      ['reason'],
    );
  }

  /**
   * Handles the end of a connection that has left the connection table in this turn.
   * @param nowMs of the monotonic clock
   */
  onEnded(connection: Connection, clientId: string, reason: EndReason, nowMs: number): void {
    const { table, link, names, redisClocks, events } = this.options;
    const lastSentId = table.lastSentId(connection);
    if (lastSentId === '') return;
    const channel = names.channelOf(table.shardOf(connection));
    if (reason === 'push_too_large') {
      this.#run(clientId, 'too_large', () =>
        skipLargestPush(link, channel, clientId, lastSentId, events),
      );
    } else if (reason === 'peer' || reason === 'error') {
      const [pushedMs] = parseMessageId(lastSentId);
      const sincePushMs = redisClocks.elapsedMs(table.shardOf(connection), pushedMs, nowMs);
      const sinceConnectMs = nowMs - table.connectedAtMs(connection);
      if (Math.min(sincePushMs, sinceConnectMs) > SOON_MS) return;
      this.#run(clientId, 'disconnects', () =>
        countDeliveryTry(link, channel, clientId, lastSentId, events),
      );
    }
  }

  /**
   * Skips a push, as if it was sent.
   * @param reason `over_limit`: it exceeds the maximum that the device has requested
   */
  skip(connection: Connection, id: string, reason: 'over_limit' | 'corrupt'): void {
    const { table, link, names, events } = this.options;
    table.markSent(connection, id);
    const clientId = table.clientIdOf(connection);
    const channel = names.channelOf(table.shardOf(connection));
    this.#run(clientId, reason, async () => {
      const outcome = await skipPush(link, channel, clientId, id, events);
      return outcome.type === 'done' ? { ...outcome, reply: outcome.reply ? id : '' } : outcome;
    });
  }

  /** Removes and returns up to `countMax` pushes that were skipped since the last call. */
  take(countMax: number): SkippedPush[] {
    return this.#unreported.splice(0, countMax);
  }

  /** @param skip resolves with the id of the push that was skipped, or '' */
  #run(
    clientId: string,
    reason: SkipReason,
    skip: () => ReturnType<typeof countDeliveryTry>,
  ): void {
    if (this.#running >= RUNNING_MAX) return;
    this.#running++;
    void skip().then((outcome) => {
      this.#running--;
      if (outcome.type !== 'done' || outcome.reply === '') return;
      const messageId = outcome.reply;
      this.#skipped.inc({ reason });
      // Each device that cannot receive a push is worth a line; a broken Redis may corrupt many.
      if (reason !== 'corrupt' || this.#corruptLog.isDue(performance.now())) {
        this.options.log.warn(
          { clientId, messageId, reason },
          'push skipped: it cannot be delivered',
        );
      }
      if (this.#unreported.length < REPORTED_MAX) {
        this.#unreported.push({ clientId, messageId, reason });
      }
    });
  }
}
