/** The gRPC AssignmentService: routers watch the assignment. */
import { Metadata } from '@grpc/grpc-js';
import { ORIGIN } from '../../common/cluster/assignment.js';
import type { AssignmentServiceServer } from '../../proto/gen/longline/v1/assignment.js';
import { streamAssignments } from './assignment-stream.js';
import type { Controller } from '../leadership/controller.js';

export function createAssignmentService(
  controller: Pick<Controller, 'watch'>,
): AssignmentServiceServer {
  return {
    watch(call) {
      // The watcher learns that it is served even when there is nothing newer for it.
      call.sendMetadata(new Metadata());
      const stop = streamAssignments(call, controller, call.request.have ?? ORIGIN);
      call.on('close', stop);
    },
  };
}
