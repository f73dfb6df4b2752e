/** The gRPC AssignmentService, over which routers watch the assignment. */

import { Metadata } from '@grpc/grpc-js';
import { toServiceError } from '../../common/process/grpc/calls.js';
import { ORIGIN } from '../../common/wire/position.js';
import type { AssignmentServiceServer } from '../../proto/gen/longline/v1/assignment.js';
import type { Controller } from '../leadership/controller.js';
import type { EdgeProcess } from '../leadership/suspect-edges.js';
import { newestOnly, streamAssignments } from './assignment-stream.js';

export function createAssignmentService(
  controller: Pick<Controller, 'watch' | 'suspects' | 'onClosedPortReported'>,
): AssignmentServiceServer {
  return {
    watch(call) {
      // Metadata tells the router that it is connected, even when no newer assignment follows.
      call.sendMetadata(new Metadata());
      const sendSuspects = newestOnly((edges: readonly EdgeProcess[], onSent) => {
        call.write({ assignment: undefined, suspects: { edges: [...edges] } }, onSent);
      });
      const stopSuspects = controller.suspects.watch(sendSuspects);
      const stopAssignments = streamAssignments(
        (assignment, onSent) => call.write({ assignment, suspects: undefined }, onSent),
        controller,
        call.request.have ?? ORIGIN,
      );
      call.on('close', () => {
        stopSuspects();
        stopAssignments();
      });
    },
    reportClosedPort({ request: { edge } }, callback) {
      const rejected = edge && controller.onClosedPortReported(edge);
      if (rejected !== undefined) return callback(toServiceError(rejected));
      callback(null, {});
    },
  };
}
