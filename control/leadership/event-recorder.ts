/**
 * Records the events of a control. While it leads, it numbers events and stores them in Redis in
 * the background. While another control leads, it follows the stored events, so every control shows
 * the same log with the same ids, and the next leader continues it. Redis being away blocks
 * nothing: events wait in memory, bounded, and the oldest ones are then never stored.
 */
import type { Counter } from 'prom-client';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { comparePositions, ORIGIN, type Position } from '../../common/wire/position.js';
import { isChange } from './changes.js';
import { EventLog } from './event-log.js';
import { readEvents, writeEvents } from './event-store.js';
import type { LogEntry, LoggedEvent } from './operations.js';

/** Maximum events that wait for a number, or until they are stored. */
const WAITING_MAX = 5_000;
/** Maximum events of one write: a script blocks Redis while it runs. */
const BATCH_MAX = 200;

interface HeldEvent {
  readonly atMs: number;
  readonly position: Position;
  readonly entry: LogEntry;
}

export class EventRecorder {
  readonly log = new EventLog();
  readonly #link: Pick<RedisLink, 'commands' | 'names'>;
  readonly #log: Logger;
  readonly #unstored: Counter;
  /**
   * `following`: another control, or none, records events. `restoring`: this one leads and reads
   * what the leader before it has stored; its events are held. `recording`: it numbers them.
   */
  #state: 'following' | 'restoring' | 'recording' = 'following';
  #held: HeldEvent[] = [];
  /** Oldest first. */
  #unwritten: LoggedEvent[] = [];
  #writing: Promise<void> | undefined;
  #reading: Promise<void> | undefined;
  #hasFailed = false;

  constructor(link: Pick<RedisLink, 'commands' | 'names'>, log: Logger, metrics: Metrics) {
    this.#link = link;
    this.#log = log;
    this.#unstored = metrics.counter(
      'longline_control_events_unstored_total',
      'Events that were not stored in Redis and are lost when control restarts',
    );
  }

  /** Starts to record, as the leader. */
  lead(): void {
    this.#state = 'restoring';
    // A read that began before may miss the last events of the leader before this one.
    void (this.#reading ?? Promise.resolve())
      .then(() => this.#read())
      .then(() => {
        if (this.#state === 'restoring') this.#becomeRecording();
      });
  }

  /** Starts to follow the events of another control. */
  follow(): void {
    if (this.#state === 'restoring') this.#becomeRecording();
    this.#state = 'following';
  }

  /** Ignored while this control does not lead: the leader records what concerns the cluster. */
  record(atMs: number, position: Position, entry: LogEntry): void {
    if (this.#state === 'following') return;
    if (this.#state === 'recording') return this.#append(atMs, position, entry);
    this.#held.push({ atMs, position, entry });
    if (this.#held.length > WAITING_MAX) {
      this.#held.shift();
      this.#unstored.inc();
    }
  }

  /** Must be called about once per second: follows, or repeats a write that failed. */
  tick(): void {
    void this.#write();
    if (this.#state === 'following') void this.#read();
  }

  /** Resolves when the events are stored, or Redis has failed to. */
  async flush(): Promise<void> {
    await this.#writing;
    await this.#write();
  }

  /** The assignment that the previous leader wrote last may be in its events already. */
  #becomeRecording(): void {
    this.#state = 'recording';
    const known = this.log.newest?.position ?? ORIGIN;
    for (const { atMs, position, entry } of this.#held.splice(0)) {
      if (isChange(entry) && comparePositions(position, known) <= 0) continue;
      this.#append(atMs, position, entry);
    }
  }

  #append(atMs: number, position: Position, entry: LogEntry): void {
    this.#unwritten.push(this.log.append(atMs, position, entry));
    this.#dropExcess();
    // All events of this turn in one write. After a failure the next tick repeats it.
    if (this.#unwritten.length === 1 && !this.#hasFailed) setImmediate(() => void this.#write());
  }

  #dropExcess(): void {
    const excess = this.#unwritten.length - WAITING_MAX;
    if (excess <= 0) return;
    this.#unwritten.splice(0, excess);
    this.#unstored.inc(excess);
  }

  #read(): Promise<void> {
    this.#reading ??= readEvents(this.#link, this.log.newest?.id ?? 0)
      .then(
        (events) => {
          for (const event of events) this.log.adopt(event);
          this.#onSuccess();
        },
        (error: Error) => this.#onFailure(error),
      )
      .finally(() => {
        this.#reading = undefined;
      });
    return this.#reading;
  }

  #write(): Promise<void> {
    if (this.#unwritten.length > 0) {
      this.#writing ??= this.#writeAll().finally(() => {
        this.#writing = undefined;
      });
    }
    return this.#writing ?? Promise.resolve();
  }

  async #writeAll(): Promise<void> {
    while (this.#unwritten.length > 0) {
      const batch = this.#unwritten.splice(0, BATCH_MAX);
      try {
        this.#unstored.inc(await writeEvents(this.#link, batch));
        this.#onSuccess();
      } catch (error) {
        this.#onFailure(error as Error);
        this.#unwritten.unshift(...batch);
        this.#dropExcess();
        return;
      }
    }
  }

  #onSuccess(): void {
    if (this.#hasFailed) this.#log.info('the event log is stored again');
    this.#hasFailed = false;
  }

  /** Logs the first of several failures. */
  #onFailure({ message }: Error): void {
    if (!this.#hasFailed) this.#log.warn({ reason: message }, 'the event log cannot be stored');
    this.#hasFailed = true;
  }
}
