/** The gRPC AssignmentService, over which routers watch the assignment. */

import { Metadata } from '@grpc/grpc-js';
import { ORIGIN } from '../../common/wire/position.js';
import type { AssignmentServiceServer } from '../../proto/gen/longline/v1/assignment.js';
import type { Controller } from '../leadership/controller.js';
import { streamAssignments } from './assignment-stream.js';

export function createAssignmentService(
  controller: Pick<Controller, 'watch'>,
): AssignmentServiceServer {
  return {
    watch(call) {
      // Metadata tells the router that it is connected, even when no newer assignment follows.
      call.sendMetadata(new Metadata());
      const stop = streamAssignments(call, controller, call.request.have ?? ORIGIN);
      call.on('close', stop);
    },
  };
}
