/** The gRPC server of control, with its three services. */
import { createGrpcServer, type GrpcServer } from '../common/process/grpc/grpc-server.js';
import { AssignmentServiceService } from '../proto/gen/longline/v1/assignment.js';
import { EdgeSessionServiceService } from '../proto/gen/longline/v1/edge_session.js';
import { OperatorServiceService } from '../proto/gen/longline/v1/operator.js';
import { createAssignmentService } from './links/assignment-service.js';
import { createEdgeSessionService, type EdgeSessionsOptions } from './links/edge-sessions.js';
import type { LinkGuard } from './links/link-guard.js';
import type { OperatorApi } from './operator/api.js';
import { createOperatorService } from './operator/grpc-service.js';

export const SERVICES = [
  'longline.v1.AssignmentService',
  'longline.v1.EdgeSessionService',
  'longline.v1.OperatorService',
] as const;

/** A peer that vanishes without closing its connection is detected within about ten seconds. */
const KEEPALIVE = { 'grpc.keepalive_time_ms': 5_000, 'grpc.keepalive_timeout_ms': 5_000 };

export function createControlGrpc(
  options: EdgeSessionsOptions,
  guard: LinkGuard,
  api: OperatorApi,
): GrpcServer {
  const grpc = createGrpcServer(SERVICES, KEEPALIVE);
  const { watch } = createAssignmentService(options.controller);
  const { session } = createEdgeSessionService(options);
  grpc.server.addService(AssignmentServiceService, { watch: guard.guard(watch) });
  grpc.server.addService(EdgeSessionServiceService, { session: guard.guard(session) });
  grpc.server.addService(OperatorServiceService, createOperatorService(api));
  return grpc;
}
