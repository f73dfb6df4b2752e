/**
 * Event log: the latest events in memory, and subscribers. Each kind of event has a bound of its
 * own, because events of a frequent kind would otherwise push out the rare ones: one drain can move
 * thousands of shards, with three events each.
 */
import type { Position } from '../../common/wire/position.js';
import type { LogEntry, LoggedEvent } from './operations.js';

export type EventKind = 'operator' | 'cluster' | 'rejections' | 'moves' | 'clients';

/** Maximum number of events by kind. The join of a fifth edge to 4096 shards is 2,500 moves. */
export const KEPT_MAX: Readonly<Record<EventKind, number>> = {
  operator: 1_000,
  cluster: 1_000,
  rejections: 200,
  moves: 3_000,
  clients: 1_000,
};

export const EVENT_KINDS = Object.keys(KEPT_MAX) as EventKind[];

/**
 * Events of one kind are kept or dropped together. Types of later versions count as events of the
 * cluster.
 */
export function kindOf({ type }: LogEntry): EventKind {
  if (type === 'operator') return 'operator';
  if (type === 'edge-rejected' || type === 'report-rejected') return 'rejections';
  if (type === 'client-reconnecting' || type === 'push-skipped') return 'clients';
  return type.startsWith('move-') ? 'moves' : 'cluster';
}

export class EventLog {
  readonly #kept: Readonly<Record<EventKind, LoggedEvent[]>> = {
    operator: [],
    cluster: [],
    rejections: [],
    moves: [],
    clients: [],
  };
  readonly #watchers = new Set<(event: LoggedEvent) => void>();
  #newest: LoggedEvent | undefined;

  get newest(): LoggedEvent | undefined {
    return this.#newest;
  }

  /**
   * Gives the event the next id: the time in Unix ms, or one more than the newest id if that is
   * higher. So ids grow from one leader to the next, even when Redis has lost the events.
   */
  append(atMs: number, position: Position, entry: LogEntry): LoggedEvent {
    const time = Math.round(atMs);
    const event = { id: Math.max((this.#newest?.id ?? 0) + 1, time), atMs: time, position, entry };
    this.#add(event);
    return event;
  }

  /** Adds an event that another control has numbered, unless it is older than the newest one. */
  adopt(event: LoggedEvent): void {
    if (event.id > (this.#newest?.id ?? 0)) this.#add(event);
  }

  /** Oldest first. */
  after(id: number): readonly LoggedEvent[] {
    return EVENT_KINDS.flatMap((kind) => {
      const events = this.#kept[kind];
      const first = events.findIndex((event) => event.id > id);
      return first < 0 ? [] : events.slice(Math.max(first, events.length - KEPT_MAX[kind]));
    }).sort((a, b) => a.id - b.id);
  }

  /** Milliseconds since the edge got the shard by a move. Undefined: not within the kept moves. */
  ownedForMs(nowMs: number, shard: number, edgeId: string): number | undefined {
    const handedOver = this.#kept.moves.findLast(
      ({ entry }) =>
        entry.type === 'move-handed-over' && entry.shard === shard && entry.to === edgeId,
    );
    return handedOver && Math.max(0, nowMs - handedOver.atMs);
  }

  /** Calls `onEvent` for every later event. Returns the function that ends it. */
  watch(onEvent: (event: LoggedEvent) => void): () => void {
    this.#watchers.add(onEvent);
    return () => this.#watchers.delete(onEvent);
  }

  #add(event: LoggedEvent): void {
    this.#newest = event;
    const kind = kindOf(event.entry);
    const events = this.#kept[kind];
    events.push(event);
    // In bulk, because removing the head of an array is expensive.
    if (events.length > 2 * KEPT_MAX[kind]) events.splice(0, events.length - KEPT_MAX[kind]);
    for (const watcher of this.#watchers) watcher(event);
  }
}
