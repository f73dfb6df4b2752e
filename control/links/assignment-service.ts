/** The gRPC AssignmentService, over which routers watch the assignment. */

import { Metadata } from '@grpc/grpc-js';
import { toServiceError } from '../../common/process/grpc/calls.js';
import { ORIGIN } from '../../common/wire/position.js';
import type { AssignmentServiceServer } from '../../proto/gen/longline/v1/assignment.js';
import type { Controller } from '../leadership/controller.js';
import type { EdgeProcess } from '../leadership/suspect-edges.js';
import { AssignmentStream, newestOnly } from './assignment-stream.js';
import type { AssignmentUpdates } from './assignment-updates.js';

export function createAssignmentService(
  controller: Pick<Controller, 'watch' | 'suspects' | 'onClosedPortReported'>,
  updates: AssignmentUpdates,
): AssignmentServiceServer {
  return {
    watch(call) {
      // Metadata tells the router that it is connected, even when no newer assignment follows.
      call.sendMetadata(new Metadata());
      const sendSuspects = newestOnly((edges: readonly EdgeProcess[], onSent) => {
        const suspects = { edges: [...edges] };
        call.write({ assignment: undefined, suspects, delta: undefined }, onSent);
      });
      const stopSuspects = controller.suspects.watch(sendSuspects);
      const { have = ORIGIN, acceptsDeltas } = call.request;
      const assignments = new AssignmentStream(controller, updates, {
        have,
        acceptsDeltas,
        write: (update, onSent) => call.write({ ...update, suspects: undefined }, onSent),
      });
      call.on('close', () => {
        stopSuspects();
        assignments.stop();
      });
    },
    reportClosedPort({ request: { edge } }, callback) {
      const rejected = edge && controller.onClosedPortReported(edge);
      if (rejected !== undefined) return callback(toServiceError(rejected));
      callback(null, {});
    },
  };
}
