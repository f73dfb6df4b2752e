/**
 * The newest pushes that got a verdict, for an operator who looks at one client. Pure: the time is
 * an argument.
 *
 * Bound: `RECENT_PUSHES_MAX` pushes to any clients; the oldest are forgotten. They lie in columns
 * that are made once: of a push, only its two texts stay, and objects would be work for the garbage
 * collector.
 */
import type { RecentPush, RecentPushesReply } from '../../../proto/gen/longline/v1/envelope.js';
import type { FlightRecord, PushResponse } from '../../../proto/gen/longline/v1/push.js';
import type { PushedTo } from './slow-pushes.js';

/** A power of two, because an index is a number modulo this. */
export const RECENT_PUSHES_MAX = 16_384;
export const ANSWERED_MAX = 50;

type Answered = Pick<PushResponse, 'messageId' | 'flightRecord' | 'verdict' | 'acceptLevel'>;

export class RecentPushes {
  readonly #clientIds: string[] = new Array(RECENT_PUSHES_MAX).fill('');
  readonly #messageIds: string[] = new Array(RECENT_PUSHES_MAX).fill('');
  readonly #flightRecords: (FlightRecord | undefined)[] = new Array(RECENT_PUSHES_MAX).fill(
    undefined,
  );
  readonly #verdicts = new Uint8Array(RECENT_PUSHES_MAX);
  readonly #acceptLevels = new Uint8Array(RECENT_PUSHES_MAX);
  readonly #payloadBytes = new Uint32Array(RECENT_PUSHES_MAX);
  readonly #startedMs = new Float64Array(RECENT_PUSHES_MAX);
  readonly #answeredMs = new Float64Array(RECENT_PUSHES_MAX);
  #count = 0;

  /** @param sinceMs the time now, as all times in ms of the monotonic clock */
  constructor(readonly sinceMs: number) {}

  onVerdict(
    { clientId, payloadBytes }: PushedTo,
    { messageId, flightRecord, verdict, acceptLevel }: Answered,
    startedMs: number,
    nowMs: number,
  ): void {
    const at = indexOf(this.#count++);
    this.#clientIds[at] = clientId;
    this.#messageIds[at] = messageId;
    this.#flightRecords[at] = flightRecord;
    this.#verdicts[at] = verdict;
    this.#acceptLevels[at] = acceptLevel;
    this.#payloadBytes[at] = payloadBytes;
    this.#startedMs[at] = startedMs;
    this.#answeredMs[at] = nowMs;
  }

  /** The newest pushes to a client. */
  of(clientId: string, nowMs: number): Omit<RecentPushesReply, 'routerId'> {
    const pushes: RecentPush[] = [];
    const oldest = Math.max(0, this.#count - RECENT_PUSHES_MAX);
    for (let i = this.#count - 1; i >= oldest && pushes.length < ANSWERED_MAX; i--) {
      const at = indexOf(i);
      if (this.#clientIds[at] === clientId) pushes.push(this.#describe(at, nowMs));
    }
    const knownSinceMs = oldest === 0 ? this.sinceMs : this.#answeredMs[indexOf(oldest)]!;
    return { pushes, rememberedMs: Math.round(nowMs - knownSinceMs) };
  }

  #describe(at: number, nowMs: number): RecentPush {
    const answeredMs = this.#answeredMs[at]!;
    return {
      verdict: this.#verdicts[at]!,
      messageId: this.#messageIds[at]!,
      acceptLevel: this.#acceptLevels[at]!,
      payloadBytes: this.#payloadBytes[at]!,
      totalMs: answeredMs - this.#startedMs[at]!,
      ageMs: Math.round(nowMs - answeredMs),
      flightRecord: this.#flightRecords[at],
    };
  }
}

function indexOf(number: number): number {
  return number & (RECENT_PUSHES_MAX - 1);
}
