/** Sends assignments over one gRPC stream: only the newest, and as deltas where they fit. */

import type { AssignmentUpdate } from '../../common/cluster/assignment-delta.js';
import { comparePositions, ORIGIN, type Position } from '../../common/wire/position.js';
import type { Controller } from '../leadership/controller.js';
import type { AssignmentUpdates } from './assignment-updates.js';

export interface Watcher {
  /** The assignment that it has; `ORIGIN`: none. Only newer ones are sent. */
  readonly have: Position;
  readonly acceptsDeltas: boolean;
  /** `onSent` is to be called when HTTP/2 flow control has let the message through. */
  write(update: AssignmentUpdate, onSent: () => void): void;
}

export class AssignmentStream {
  /** The assignment that the watcher has when it has read everything that was written. */
  #has: Position;
  readonly #send: (newest: Position) => void;
  /** Ends the stream of assignments. */
  readonly stop: () => void;

  constructor(
    controller: Pick<Controller, 'watch'>,
    readonly updates: AssignmentUpdates,
    { have, acceptsDeltas, write }: Watcher,
  ) {
    this.#has = have;
    this.#send = newestOnly((_newest, onSent) => {
      const update = updates.from(this.#has, acceptsDeltas);
      this.#has = updates.newest;
      write(update, onSent);
    });
    this.stop = controller.watch(({ position }) => {
      if (comparePositions(position, this.#has) > 0) this.#send(position);
    });
  }

  /** Sends the newest assignment whole: a delta did not fit. */
  resend(): void {
    if (this.updates.newest === ORIGIN) return;
    this.#has = ORIGIN;
    this.#send(this.updates.newest);
  }
}

/**
 * Returns a function that sends a value by `write`. At most one is in transit: while a slow peer
 * receives it, newer ones replace each other instead of piling up.
 * @param write calls its second argument when HTTP/2 flow control has let the message through
 */
export function newestOnly<Value>(
  write: (value: Value, onSent: () => void) => void,
): (value: Value) => void {
  let pending: { readonly value: Value } | undefined;
  let isBusy = false;
  const sendPending = () => {
    const next = pending;
    pending = undefined;
    isBusy = next !== undefined;
    if (next !== undefined) write(next.value, sendPending);
  };
  return (value) => {
    pending = { value };
    if (!isBusy) sendPending();
  };
}
