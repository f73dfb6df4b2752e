/** Sends assignments over one gRPC stream: always whole, and only the newest. */

import type { ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import { type Assignment, toWire } from '../../common/cluster/assignment.js';
import { comparePositions, type Position } from '../../common/wire/position.js';
import type { WatchRequest, WatchResponse } from '../../proto/gen/longline/v1/assignment.js';
import type { SessionRequest, SessionResponse } from '../../proto/gen/longline/v1/edge_session.js';
import type { Controller } from '../leadership/controller.js';

type Stream =
  | ServerDuplexStream<SessionRequest, SessionResponse>
  | ServerWritableStream<WatchRequest, WatchResponse>;

/**
 * Sends the assignments of `controller` until the returned function is called. At most one
 * assignment is in transit: while a slow peer receives it, newer ones replace each other instead of
 * piling up.
 * @param have the assignment that the peer has; only newer ones are sent
 */
export function streamAssignments(
  stream: Stream,
  controller: Pick<Controller, 'watch'>,
  have: Position,
): () => void {
  let pending: Assignment | undefined;
  let isBusy = false;
  const sendPending = () => {
    const assignment = pending;
    pending = undefined;
    isBusy = assignment !== undefined;
    if (assignment === undefined) return;
    // The callback runs when HTTP/2 flow control has let the message through.
    stream.write({ assignment: toWire(assignment), pace: undefined }, sendPending);
  };
  return controller.watch((assignment) => {
    if (comparePositions(assignment.position, have) <= 0) return;
    pending = assignment;
    if (!isBusy) sendPending();
  });
}
