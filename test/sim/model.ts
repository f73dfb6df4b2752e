/**
 * A model of a cluster in virtual time: a store with compare-and-set, edges with subscriptions and
 * clients, and controls that run the real machines. Messages are delayed and repeated, edges die,
 * report wrong loads and restart, controls stall and overlap. Invariants are checked after every
 * step.
 *
 * Time and randomness come from the caller only: one seed, one history.
 */

import { type Assignment, findProblem } from '../../common/cluster/assignment.js';
import { comparePositions } from '../../common/wire/position.js';

/** A virtual clock with timers, kept in a binary heap. */
export class VirtualClock {
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

const HISTORY_MAX = 4;

/** The assignment in Redis. */
export class Store {
  assignment: Assignment | undefined;
  /** Fault injection: writes do not compare. */
  skipsCompare = false;
  /** The last assignments, oldest first, to which a failover can return. */
  readonly #history: Assignment[] = [];
  onCommit: (before: Assignment | undefined, next: Assignment) => void = () => {};

  /** @param expected the assignment that must be stored; undefined: none */
  write(next: Assignment, expected: Assignment | undefined): boolean {
    if (!this.skipsCompare && this.assignment !== expected) return false;
    const before = this.assignment;
    this.assignment = next;
    if (before !== undefined) this.#history.push(before);
    if (this.#history.length > HISTORY_MAX) this.#history.shift();
    this.onCommit(before, next);
    return true;
  }

  /** Redis fails over to a replica that lags behind by up to `HISTORY_MAX` writes. */
  loseWrites(writes: number): void {
    for (let lost = 0; lost < writes; lost++)
      this.assignment = this.#history.pop() ?? this.assignment;
  }
}

/** The violation of an invariant by `next` as the successor of `before`, if any. */
export function findViolation(
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
  // Redis has lost writes, so `before` is not the predecessor.
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
