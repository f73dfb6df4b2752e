/**
 * The messages with which watchers of the assignment become up to date: a delta if the watcher's
 * assignment is one of the last few, otherwise the whole. Each is made once for all watchers, whose
 * streams share its encoded form.
 */
import type { Counter } from 'prom-client';
import { type Assignment, toWire } from '../../common/cluster/assignment.js';
import { type AssignmentUpdate, deltaBetween } from '../../common/cluster/assignment-delta.js';
import type { Metrics } from '../../common/process/metrics.js';
import {
  comparePositions,
  ORIGIN,
  type Position,
  positionText,
} from '../../common/wire/position.js';
import type { Controller } from '../leadership/controller.js';

/**
 * Assignments to which a delta can be made, each two bytes per shard. While shards move there are
 * up to four a second, and a watcher that reads slowly skips some.
 */
const REMEMBERED = 16;

export class AssignmentUpdates {
  /** Oldest first; the last one is the newest. */
  readonly #recent: Assignment[] = [];
  #whole: AssignmentUpdate | undefined;
  /** Deltas to the newest assignment, by the position of the watcher. */
  readonly #deltas = new Map<string, AssignmentUpdate>();
  readonly #sent: Counter<'form'>;

  /** To be created before the watchers: each assignment has to arrive here first. */
  constructor(controller: Pick<Controller, 'watch'>, metrics: Metrics) {
    this.#sent = metrics.counter(
      'longline_control_assignments_sent_total',
      'Assignments sent to edges and routers, by form: whole or delta',
      ['form'],
    );
    controller.watch((assignment) => this.#add(assignment));
  }

  /** Position of the newest assignment; `ORIGIN`: none is known. */
  get newest(): Position {
    return this.#recent.at(-1)?.position ?? ORIGIN;
  }

  /** Returns what brings a watcher from `have` to the newest assignment. */
  from(have: Position, acceptsDeltas: boolean): AssignmentUpdate {
    const base = acceptsDeltas ? this.#find(have) : undefined;
    this.#sent.inc({ form: base === undefined ? 'whole' : 'delta' });
    const newest = this.#recent.at(-1)!;
    if (base === undefined) {
      this.#whole ??= { assignment: toWire(newest), delta: undefined };
      return this.#whole;
    }
    const key = positionText(have);
    const known = this.#deltas.get(key);
    if (known !== undefined) return known;
    const update = { assignment: undefined, delta: deltaBetween(base, newest) };
    this.#deltas.set(key, update);
    return update;
  }

  #add(newest: Assignment): void {
    this.#recent.push(newest);
    if (this.#recent.length > REMEMBERED) this.#recent.shift();
    this.#whole = undefined;
    this.#deltas.clear();
  }

  #find(position: Position): Assignment | undefined {
    return this.#recent.find((one) => comparePositions(one.position, position) === 0);
  }
}

/** The update in a response; a response with an update has nothing else. */
export function updateIn({ assignment, delta }: AssignmentUpdate): object | undefined {
  return assignment ?? delta;
}
