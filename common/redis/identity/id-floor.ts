/**
 * The lowest time of new ids. Redis makes the ids of a stream from its clock, and above the newest
 * one of the stream. After a loss of data that is not enough: if the clock was ahead before, or the
 * clock of a promoted replica is behind, new entries would get the ids of lost ones, or lower ids
 * than devices have. A device that names such an id would be taken for one that has received what
 * it has not.
 *
 * So each process follows the clocks of the servers, and the first id of a stream is not below the
 * time that any server can have shown by then. That is a lower bound: an answer of a server arrives
 * later than it was made. Once the process has connected to another server than before, or a clock
 * was set back, the floor is raised above the newest id, and holds for all ids. Processes tell each
 * other what they know, and have nearly the same floor (cluster/clocks/shared-id-floor.ts). Scripts
 * that make ids get it as an argument (script.ts). Pure: times are parameters.
 */

/** A clock that differs by less than this was not set back. */
const TOLERANCE_MS = 1_000;
/** A process that has just started connects to servers that have lost nothing that it knows. */
const START_MS = 10_000;
/** Clocks of machines differ by less than this much of the time that passes. */
const DRIFT_MAX = 2e-4;

/** A server, as it says itself when a connection to it is opened. */
export interface ConnectedServer {
  /** `host:port` of the connection. */
  readonly address: string;
  /** Unique per start of the server. */
  readonly runId: string;
  /** Unix ms by its clock. */
  readonly serverMs: number;
}

/** Unix ms by the clock of Redis. */
export interface KnownFloor {
  /** The latest time that a server can show now. */
  readonly shownMs: number;
  /** No id is below this. */
  readonly raisedMs: number;
}

/** All other times are in ms of the monotonic clock. */
export class IdFloor {
  /** Run id of the server at the address of each master. */
  readonly #runIds = new Map<string, string>();
  /** Largest time of a server minus the time at which it was received, and when that was. */
  #aheadMs = Number.NEGATIVE_INFINITY;
  #readAtMs = 0;
  /** The same of the newest reading, of any server. */
  #newestAheadMs = Number.NEGATIVE_INFINITY;
  #startEndsMs: number | undefined;
  #raisedMs = 0;
  #isRaised = false;

  /**
   * Returns the time of the newest id that this process knows; to be set by a process that knows
   * ids.
   */
  newestIdMs: () => number = () => 0;

  /** Unix ms by the clock of Redis; 0 before the first reading. */
  at(nowMs: number): number {
    return Math.max(this.#raisedMs, Math.floor(this.#shownMs(nowMs)));
  }

  /** Whether it holds for all ids, not only for the first of a stream. */
  get isRaised(): boolean {
    return this.#isRaised;
  }

  /**
   * Whether the clock that was read last is below the floor, by more than a late answer explains.
   */
  isAboveClock(nowMs: number): boolean {
    const aboveMs = Math.max(this.#raisedMs, this.#shownMs(nowMs) - TOLERANCE_MS);
    return this.#isRaised && aboveMs > this.#newestAheadMs + nowMs;
  }

  /** For other processes. */
  known(nowMs: number): KnownFloor {
    return { shownMs: Math.floor(this.#shownMs(nowMs)), raisedMs: this.#raisedMs };
  }

  /** Other processes know this, so servers may have lost what they know. */
  learn({ shownMs, raisedMs }: KnownFloor, nowMs: number): void {
    this.#onShown(shownMs, nowMs);
    this.#raise(raisedMs);
    this.#startEndsMs = nowMs;
  }

  /** A server has shown its time, in Unix ms, at some time between when it was asked and now. */
  observe(serverMs: number, askedAtMs: number, nowMs: number): void {
    if (serverMs < this.#shownMs(askedAtMs) - TOLERANCE_MS) this.#raiseAboveAll(nowMs);
    this.#newestAheadMs = serverMs - nowMs;
    this.#onShown(serverMs, nowMs);
  }

  /** A connection was opened. To be called before its first command that makes an id. */
  onConnected({ address, runId, serverMs }: ConnectedServer, nowMs: number): void {
    this.#startEndsMs ??= nowMs + START_MS;
    const isOther = this.#runIds.get(address) !== runId;
    this.#runIds.set(address, runId);
    if (isOther && nowMs >= this.#startEndsMs) this.#raiseAboveAll(nowMs);
    this.#onShown(serverMs, nowMs);
  }

  /**
   * A server at another address than these is no master any more; if it becomes one, it is another.
   */
  follow(masters: readonly string[]): void {
    for (const address of this.#runIds.keys()) {
      if (!masters.includes(address)) this.#runIds.delete(address);
    }
  }

  #raiseAboveAll(nowMs: number): void {
    const highestMs = Math.max(this.#shownMs(nowMs), this.newestIdMs(), this.#raisedMs);
    this.#raise(Math.floor(highestMs) + 1);
  }

  #raise(floorMs: number): void {
    this.#raisedMs = Math.max(this.#raisedMs, floorMs);
    this.#isRaised = true;
  }

  #onShown(serverMs: number, nowMs: number): void {
    if (serverMs < this.#shownMs(nowMs)) return;
    this.#aheadMs = serverMs - nowMs;
    this.#readAtMs = nowMs;
  }

  /** The latest time that a server can show. */
  #shownMs(nowMs: number): number {
    return this.#aheadMs + nowMs - (nowMs - this.#readAtMs) * DRIFT_MAX;
  }
}
