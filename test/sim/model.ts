/**
 * A model of a cluster in virtual time: a table with compare-and-set, edges that subscribe and hold
 * clients, and controls that run the real machines. Messages are late and repeated, edges die, lie
 * and come back, controls stall and overlap. After every step what must hold is checked.
 *
 * Nothing here waits or draws for itself: one seed, one history.
 */
import {
  type Assignment,
  comparePositions,
  findProblem,
  ORIGIN,
  type Position,
} from '../../common/cluster/assignment.js';

/** Things to do, in the order of their time. */
export class Agenda {
  nowMs = 0;
  readonly #items: { atMs: number; order: number; run: () => void }[] = [];
  #order = 0;

  in(delayMs: number, run: () => void): void {
    const item = { atMs: this.nowMs + delayMs, order: this.#order++, run };
    let index = this.#items.length;
    this.#items.push(item);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(item, this.#items[parent]!)) break;
      this.#items[index] = this.#items[parent]!;
      index = parent;
    }
    this.#items[index] = item;
  }

  runUntil(endMs: number): void {
    while (this.#items.length > 0 && this.#items[0]!.atMs <= endMs) {
      const item = this.#pop();
      this.nowMs = item.atMs;
      item.run();
    }
    this.nowMs = endMs;
  }

  #pop(): { atMs: number; order: number; run: () => void } {
    const items = this.#items;
    const top = items[0]!;
    const last = items.pop()!;
    if (items.length === 0) return top;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && isBefore(items[child + 1]!, items[child]!)) child++;
      if (!isBefore(items[child]!, last)) break;
      items[index] = items[child]!;
      index = child;
    }
    items[index] = last;
    return top;
  }
}

function isBefore(a: { atMs: number; order: number }, b: { atMs: number; order: number }): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

const PAST_MAX = 4;

/** The table in Redis. */
export class Store {
  table: Assignment | undefined;
  /** Sabotage, to see that it is noticed: writes whatever is stored. */
  isBlind = false;
  /** The last tables, oldest first: what a failover can bring back. */
  readonly #past: Assignment[] = [];
  onCommit: (before: Assignment | undefined, next: Assignment) => void = () => {};

  write(next: Assignment, on: Position): boolean {
    const position = this.table?.position ?? ORIGIN;
    if (!this.isBlind && comparePositions(position, on) !== 0) return false;
    const before = this.table;
    this.table = next;
    if (before !== undefined) this.#past.push(before);
    if (this.#past.length > PAST_MAX) this.#past.shift();
    this.onCommit(before, next);
    return true;
  }

  /** Redis fails over to a replica that lags behind by up to `PAST_MAX` writes. */
  loseWrites(writes: number): void {
    for (let lost = 0; lost < writes; lost++) this.table = this.#past.pop() ?? this.table;
  }
}

/** What is wrong with `next` after `before`, whatever edges do. */
export function findTableViolation(
  before: Assignment | undefined,
  next: Assignment,
  movesInFlightMax: number,
): string | undefined {
  const problem = findProblem(next);
  if (problem !== undefined) return problem;
  if (next.owners.some((owner) => owner >= next.edges.length)) return 'a shard has no owner';
  if (next.moves.length > movesInFlightMax) return `${next.moves.length} moves in flight`;
  if (before === undefined) return undefined;
  if (comparePositions(next.position, before.position) <= 0)
    return `the position did not grow ${JSON.stringify([before.position, next.position])}`;
  // What is stored was not the newest: its history does not bind.
  if (next.position.incarnation > before.position.incarnation) return undefined;
  const movesBefore = new Map(before.moves.map((move) => [move.shard, move]));
  for (const move of next.moves) {
    const was = movesBefore.get(move.shard);
    const isSame = was?.from === move.from && was.to === move.to;
    if (move.phase === 'handing-over' && !isSame) {
      return `shard ${move.shard} is handed over from ${move.from} to ${move.to}, which did not acquire it`;
    }
    if (was?.phase === 'handing-over' && isSame && move.phase === 'acquiring') {
      return `the move of shard ${move.shard} went backwards`;
    }
  }
  return undefined;
}
