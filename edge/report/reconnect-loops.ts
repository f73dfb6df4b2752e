/**
 * Clients whose connections end again and again, or are rejected, and why. Bounded: only the
 * latest ends are kept, of the clients whose connections ended last. Pure.
 */

/** Ends of a client's connections within this time are counted together. */
export const LOOP_WINDOW_MS = 60_000;
/** Connections of one client that end within the window: fewer are no loop. */
export const LOOP_ENDS_MIN = 5;
/** Maximum number of clients whose ends are known. */
const CLIENTS_MAX = 1_024;
/** Ends per client, which is also the largest number that is reported. */
const ENDS_MAX = 100;
/** Maximum number of reasons that are named, newest first. */
const REASONS_MAX = 5;

export interface ReconnectLoop {
  readonly clientId: string;
  /** Connections that ended within the last minute; `ENDS_MAX` stands for more. */
  readonly ends: number;
  /** Why the latest ended, newest first. */
  readonly reasons: string[];
}

interface Ends {
  readonly atMs: number[];
  reasons: string[];
}

export class ReconnectLoops {
  /** The client whose connection ended last is the last one. */
  readonly #byClient = new Map<string, Ends>();

  add(clientId: string, reason: string, nowMs: number): void {
    const ends = this.#byClient.get(clientId) ?? { atMs: [], reasons: [] };
    this.#byClient.delete(clientId);
    dropOld(ends, nowMs);
    ends.atMs.push(nowMs);
    if (ends.atMs.length > ENDS_MAX) ends.atMs.shift();
    ends.reasons = [reason, ...ends.reasons.slice(0, REASONS_MAX - 1)];
    this.#byClient.set(clientId, ends);
    if (this.#byClient.size <= CLIENTS_MAX) return;
    const [oldest] = this.#byClient.keys();
    this.#byClient.delete(oldest!);
  }

  /** Clients that reconnect in a loop, the one whose connection ended last first. */
  read(nowMs: number): ReconnectLoop[] {
    const loops: ReconnectLoop[] = [];
    for (const [clientId, ends] of this.#byClient) {
      dropOld(ends, nowMs);
      if (ends.atMs.length === 0) this.#byClient.delete(clientId);
      if (ends.atMs.length < LOOP_ENDS_MIN) continue;
      loops.push({ clientId, ends: ends.atMs.length, reasons: ends.reasons });
    }
    return loops.reverse();
  }
}

function dropOld({ atMs }: Ends, nowMs: number): void {
  while (atMs.length > 0 && atMs[0]! <= nowMs - LOOP_WINDOW_MS) atMs.shift();
}
