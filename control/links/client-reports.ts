/**
 * What edges report about single clients: the ones that reconnect in a loop, and pushes that were
 * skipped. Both become events, a loop only once in a while. Edges are trusted but may be of another
 * version, so lists and texts are bounded here.
 */
import { rejectClientId } from '../../common/wire/client-id.js';
import type {
  ReconnectLoop,
  SkippedPush,
  Stats,
} from '../../proto/gen/longline/v1/edge_session.js';
import type { LogEntry } from '../leadership/operations.js';

const LOOPS_MAX = 50;
const SKIPS_MAX = 10;
const RETURNED_NAMED_MAX = 10;
const REASONS_MAX = 5;
const REASON = /^[a-z_]{1,40}$/;
const MESSAGE_ID = /^\d{1,15}-\d{1,15}$/;
/** A client that continues to loop is named again after this time. */
const NAMED_AGAIN_MS = 10 * 60 * 1_000;
const NAMED_MAX = 1_000;
/** Clients named per minute: in a reconnect storm, the first ones say enough. */
const NAMED_PER_MINUTE_MAX = 60;

export type ClientReport = Pick<
  Stats,
  'clientsReturned' | 'clientsReturnedIds' | 'reconnectLoops' | 'pushesSkipped'
>;

/** Returns the report without what is implausible. */
export function readClientReport(stats: ClientReport): ClientReport {
  const { clientsReturned, clientsReturnedIds, reconnectLoops, pushesSkipped } = stats;
  return {
    clientsReturned,
    clientsReturnedIds: clientsReturnedIds.slice(0, RETURNED_NAMED_MAX).filter(isClientId),
    reconnectLoops: reconnectLoops.slice(0, LOOPS_MAX).filter(isPlausibleLoop),
    pushesSkipped: pushesSkipped.slice(0, SKIPS_MAX).filter(isPlausibleSkip),
  };
}

function isClientId(text: string): boolean {
  return rejectClientId(text) === undefined;
}

function isPlausibleLoop({ clientId, reasons }: ReconnectLoop): boolean {
  return isClientId(clientId) && reasons.length <= REASONS_MAX && reasons.every(isReason);
}

function isPlausibleSkip({ clientId, messageId, reason }: SkippedPush): boolean {
  return isClientId(clientId) && MESSAGE_ID.test(messageId) && isReason(reason);
}

function isReason(text: string): boolean {
  return REASON.test(text);
}

/** Pure. */
export class ClientEvents {
  /** Time at which a looping client was named, oldest first. */
  readonly #namedAtMs = new Map<string, number>();
  #minute = 0;
  #namedInMinute = 0;

  /** Returns the events of one report. */
  read(edgeId: string, report: ClientReport, nowMs: number): LogEntry[] {
    const { reconnectLoops, pushesSkipped } = report;
    if (reconnectLoops.length === 0 && pushesSkipped.length === 0) return [];
    const looping = reconnectLoops.filter(({ clientId }) => this.#name(clientId, nowMs));
    return [
      ...looping.map(({ clientId, ends, reasons }) => {
        const reason = reasons.join(', ');
        return { type: 'client-reconnecting', edgeId, clientId, ends, reason } as const;
      }),
      ...pushesSkipped.map((push) => ({ type: 'push-skipped', edgeId, ...push }) as const),
    ];
  }

  /** Returns false for a client that was named a short time ago, and after too many others. */
  #name(clientId: string, nowMs: number): boolean {
    const namedAtMs = this.#namedAtMs.get(clientId) ?? Number.NEGATIVE_INFINITY;
    const minute = Math.floor(nowMs / 60_000);
    if (minute !== this.#minute) this.#namedInMinute = 0;
    this.#minute = minute;
    if (nowMs < namedAtMs + NAMED_AGAIN_MS) return false;
    if (this.#namedInMinute >= NAMED_PER_MINUTE_MAX) return false;
    this.#namedInMinute++;
    this.#namedAtMs.delete(clientId);
    this.#namedAtMs.set(clientId, nowMs);
    if (this.#namedAtMs.size > NAMED_MAX) {
      const [oldest] = this.#namedAtMs.keys();
      this.#namedAtMs.delete(oldest!);
    }
    return true;
  }
}
