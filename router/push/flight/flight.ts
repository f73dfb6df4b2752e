/** Takes the times of one push of which a flight record was asked for. */
import type { QueryObserver, SendResult } from '../../../common/cluster/shard-query.js';
import type { ClockReading } from '../../../common/process/time/clock-offset.js';
import type { Reply } from '../../../proto/gen/longline/v1/envelope.js';
import {
  type FlightRecord,
  type PushResponse,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';
import { type EdgeReply, flightRecordOf, type Span } from './flight-record.js';

/** Maximum replies: a shard has one or two subscribers, but a client may be a guest anywhere. */
const REPLIES_MAX = 8;

/** Where a push goes. */
export interface Route {
  readonly routerId: string;
  /** Address of the master of Redis; empty: unknown. */
  readonly master: string;
  /** The clock of that master. Undefined: unknown. */
  readonly redisClock: ClockReading | undefined;
}

export class Flight implements QueryObserver {
  readonly #replies: EdgeReply[] = [];
  #acceptedMs: number | undefined;
  #unconfirmedMs: number;
  #polledMs: number;
  #confirmed: Span | undefined;

  /** @param receivedMs in ms of the monotonic clock */
  constructor(
    readonly route: Route,
    readonly receivedMs: number,
    readonly isDurable: boolean,
  ) {
    this.#unconfirmedMs = receivedMs;
    this.#polledMs = receivedMs;
  }

  onSent({ type }: SendResult): void {
    if (type !== 'unknown') this.#acceptedMs = performance.now();
  }

  onReply(edgeId: string, { body, times }: Reply): void {
    const isWritten = body?.$case === 'written';
    if (this.#replies.length >= REPLIES_MAX && !isWritten) return;
    const isTimed = times !== undefined && times.heardAtUs > 0;
    this.#replies.push({
      edgeId,
      isWritten,
      heard: isTimed ? { ms: times.heardAtUs / 1_000, errorMs: times.errorUs / 1_000 } : undefined,
      tookMs: (times?.tookUs ?? 0) / 1_000,
      repliedMs: performance.now(),
    });
  }

  /** A read of the confirmation is sent to Redis. */
  onPoll(): void {
    this.#unconfirmedMs = this.#polledMs;
    this.#polledMs = performance.now();
  }

  /** The device had not confirmed at the previous read. */
  onConfirmed(): void {
    this.#confirmed = { fromMs: this.#unconfirmedMs, toMs: performance.now() };
  }

  /** The record of a push whose verdict is known now. */
  record({ verdict, messageId }: PushResponse): FlightRecord {
    const { routerId, master, redisClock } = this.route;
    return flightRecordOf({
      routerId,
      master,
      redisClock,
      receivedMs: this.receivedMs,
      isDurable: this.isDurable,
      isPublished: verdict !== Verdict.VERDICT_DUPLICATE,
      storedRedisMs: messageId === '' ? undefined : Number.parseInt(messageId, 10),
      acceptedMs: this.#acceptedMs,
      replies: this.#replies,
      confirmed: this.#confirmed,
      answeredMs: performance.now(),
    });
  }
}
