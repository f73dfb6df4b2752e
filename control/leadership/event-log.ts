/** Event log: the latest changes of the assignment and actions of operators, and subscribers. */
import type { Position } from '../../common/wire/position.js';
import type { LogEntry, LoggedEvent } from './operations.js';

/** The join of a fifth edge to 4096 shards is about 2,500 entries. */
const KEPT_MAX = 4_000;

export class EventLog {
  readonly #events: LoggedEvent[] = [];
  readonly #watchers = new Set<(event: LoggedEvent) => void>();
  #lastId = 0;

  append(atMs: number, position: Position, entry: LogEntry): void {
    const event = { id: ++this.#lastId, atMs: Math.round(atMs), position, entry };
    this.#events.push(event);
    // In bulk, because removing the head of an array is expensive.
    if (this.#events.length > 2 * KEPT_MAX) this.#events.splice(0, KEPT_MAX);
    for (const watcher of this.#watchers) watcher(event);
  }

  /** Oldest first. */
  after(id: number): readonly LoggedEvent[] {
    const first = this.#events.findIndex((event) => event.id > id);
    return first < 0 ? [] : this.#events.slice(Math.max(first, this.#events.length - KEPT_MAX));
  }

  /** Calls `onEvent` for every later event. Returns the function that ends it. */
  watch(onEvent: (event: LoggedEvent) => void): () => void {
    this.#watchers.add(onEvent);
    return () => this.#watchers.delete(onEvent);
  }
}
