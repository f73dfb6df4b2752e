/**
 * One partition of the events, as one consumer reads it: some neighbouring shards, up to which
 * event each was read, and what is delivered and not acknowledged yet. Pure.
 */
import type {
  EventPosition,
  ShardEvents,
  StoredEvent,
} from '../../common/cluster/events/event-reads.js';

/** An event for a consumer; of type `events_lost` if it stands for others. */
export interface DeliveredEvent {
  /** Unique in the cluster: `<shard>-<ms>-<n>`. */
  readonly id: string;
  readonly type: string;
  /** '' for `events_lost`. */
  readonly clientId: string;
  readonly atMs: number;
  readonly fields: ReadonlyMap<string, string>;
  /** Number of events that were lost. */
  readonly lost: number;
}

export const EVENTS_LOST = 'events_lost';

interface InFlight {
  readonly eventId: string;
  readonly position: EventPosition;
  readonly takenAtMs: number;
  isAcked: boolean;
}

interface ShardState {
  /** The last event that was read; undefined: those that the group has acknowledged. */
  after: EventPosition | undefined;
  /** Events that were read and are not acknowledged, with those behind them; oldest first. */
  readonly inFlight: InFlight[];
  /** Set while the newest acknowledgement is not in Redis. */
  acked: EventPosition | undefined;
}

const NO_FIELDS: ReadonlyMap<string, string> = new Map();

export class Partition {
  readonly #states: ReadonlyMap<number, ShardState>;
  /** Events that were delivered and not acknowledged. */
  unacked = 0;

  /** @param isSelected whether the consumer receives an event; others count as acknowledged */
  constructor(
    readonly shards: readonly number[],
    readonly isSelected: (event: DeliveredEvent) => boolean,
    /** Events are kept for this time. */
    readonly keepMs: number,
  ) {
    this.#states = new Map(
      shards.map((shard) => [shard, { after: undefined, inFlight: [], acked: undefined }]),
    );
  }

  /** The last event of a shard that was read. */
  after(shard: number): EventPosition | undefined {
    return this.#states.get(shard)!.after;
  }

  /** When the event was taken that waits for the longest time; Infinity: none waits. */
  get oldestAtMs(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const { inFlight } of this.#states.values()) {
      if (inFlight[0] !== undefined) oldest = Math.min(oldest, inFlight[0].takenAtMs);
    }
    return oldest;
  }

  /**
   * Takes the events that were read after `after`, and returns those to deliver.
   * @param nowMs of the monotonic clock
   */
  take(
    shard: number,
    { before, number, newestId, events }: ShardEvents,
    nowMs: number,
  ): DeliveredEvent[] {
    const state = this.#states.get(shard)!;
    const delivered: DeliveredEvent[] = [];
    const add = (position: EventPosition, content: Omit<DeliveredEvent, 'id'>) => {
      const event = { id: `${shard}-${position.id}`, ...content };
      const isAcked = event.type !== EVENTS_LOST && !this.isSelected(event);
      state.after = position;
      state.inFlight.push({ eventId: event.id, position, takenAtMs: nowMs, isAcked });
      if (isAcked) return;
      this.unacked++;
      delivered.push(event);
    };
    state.after ??= before;
    // Below 0, the stream has started over: it had expired, or Redis has lost its end, and perhaps
    // more.
    const lost = Math.max(0, number - before.number - 1);
    const isShorter = number <= before.number && events[0] !== undefined;
    const isLost = isShorter && msOf(events[0]!.id) - msOf(before.id) < this.keepMs;
    if (lost > 0 || isLost) {
      const id = events[0] === undefined ? newestId : idBefore(events[0].id);
      const atMs = msOf(id);
      const content = { type: EVENTS_LOST, clientId: '', atMs, fields: NO_FIELDS, lost };
      add({ id, number: number - 1 }, content);
    }
    for (const [i, { id, fields }] of events.entries()) {
      add({ id, number: number + i }, contentOf(id, fields));
    }
    this.#settle(state);
    return delivered;
  }

  /** Returns false for an event that is not in flight here. */
  ack(shard: number, eventId: string): boolean {
    const state = this.#states.get(shard);
    const found = state?.inFlight.find((each) => each.eventId === eventId && !each.isAcked);
    if (found === undefined) return false;
    found.isAcked = true;
    this.unacked--;
    this.#settle(state!);
    return true;
  }

  /** Removes and returns what is acknowledged and not in Redis yet. */
  takeAcked(): { readonly shard: number; readonly position: EventPosition }[] {
    const taken: { shard: number; position: EventPosition }[] = [];
    for (const [shard, state] of this.#states) {
      if (state.acked === undefined) continue;
      taken.push({ shard, position: state.acked });
      state.acked = undefined;
    }
    return taken;
  }

  /** Redis has not taken an acknowledgement. */
  restoreAcked(shard: number, position: EventPosition): void {
    const state = this.#states.get(shard)!;
    state.acked ??= position;
  }

  #settle(state: ShardState): void {
    let count = 0;
    while (state.inFlight[count]?.isAcked) count++;
    if (count === 0) return;
    state.acked = state.inFlight[count - 1]!.position;
    state.inFlight.splice(0, count);
  }
}

/** The events of a shard, with the part of their id that is unique in it. */
export function eventsOf(shard: number, events: readonly StoredEvent[]) {
  return events.map(({ id, fields }) => ({
    ...contentOf(id, fields),
    id: `${shard}-${id}`,
    streamId: id,
  }));
}

function contentOf(id: string, fields: StoredEvent['fields']) {
  const clientId = fields.get('c') ?? '';
  return { type: fields.get('t') ?? '', clientId, atMs: msOf(id), fields, lost: 0 };
}

function msOf(id: string): number {
  return Number(id.split('-', 1)[0]);
}

/** The largest id that is smaller. */
function idBefore(id: string): string {
  const [ms, n] = id.split('-') as [string, string];
  return n === '0' ? `${Number(ms) - 1}-18446744073709551615` : `${ms}-${BigInt(n) - 1n}`;
}

/** The shard of an event's id; undefined for text that is none. */
export function shardOfEvent(eventId: string): number | undefined {
  return /^\d{1,5}-\d{1,15}-\d{1,20}$/.test(eventId) ? Number.parseInt(eventId, 10) : undefined;
}
