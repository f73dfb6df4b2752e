/** Sends assignments over one gRPC stream: always whole, and only the newest. */

import { type Assignment, toWire } from '../../common/cluster/assignment.js';
import { comparePositions, type Position } from '../../common/wire/position.js';
import type { Assignment as Wire } from '../../proto/gen/longline/v1/assignment.js';
import type { Controller } from '../leadership/controller.js';

/**
 * Sends the assignments of `controller` until the returned function is called.
 * @param have the assignment that the peer has; only newer ones are sent
 */
export function streamAssignments(
  write: (assignment: Wire, onSent: () => void) => void,
  controller: Pick<Controller, 'watch'>,
  have: Position,
): () => void {
  const send = newestOnly((assignment: Assignment, onSent) => write(toWire(assignment), onSent));
  return controller.watch((assignment) => {
    if (comparePositions(assignment.position, have) > 0) send(assignment);
  });
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
