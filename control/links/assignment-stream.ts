/** Sends assignments down one gRPC stream: whole, newest only. */
import type { ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import {
  type Assignment,
  comparePositions,
  type Position,
  toWire,
} from '../../common/cluster/assignment.js';
import type { WatchRequest, WatchResponse } from '../../proto/gen/longline/v1/assignment.js';
import type { SessionRequest, SessionResponse } from '../../proto/gen/longline/v1/edge_session.js';
import type { Controller } from '../leadership/controller.js';

type Stream =
  | ServerDuplexStream<SessionRequest, SessionResponse>
  | ServerWritableStream<WatchRequest, WatchResponse>;

/**
 * Follows `controller` until the returned function is called. One assignment at most is on its way:
 * while a slow peer takes it, newer ones replace each other instead of piling up.
 * @param have what the peer already knows; nothing older is sent
 */
export function streamAssignments(
  stream: Stream,
  controller: Pick<Controller, 'watch'>,
  have: Position,
): () => void {
  let waiting: Assignment | undefined;
  let isBusy = false;
  const sendNext = () => {
    const assignment = waiting;
    waiting = undefined;
    isBusy = assignment !== undefined;
    // The callback comes when HTTP/2 flow control has let the message out.
    if (assignment !== undefined)
      stream.write({ assignment: toWire(assignment), pace: undefined }, sendNext);
  };
  return controller.watch((assignment) => {
    if (comparePositions(assignment.position, have) <= 0) return;
    waiting = assignment;
    if (!isBusy) sendNext();
  });
}
