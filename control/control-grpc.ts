/** The gRPC server of control, with its three services. */
import { GrpcConnections } from '../common/process/grpc/connections.js';
import { createGrpcServer, type GrpcServer } from '../common/process/grpc/grpc-server.js';
import { withStrictStrings } from '../common/process/grpc/strict-strings.js';
import type { Metrics } from '../common/process/metrics.js';
import { AssignmentServiceService } from '../proto/gen/longline/v1/assignment.js';
import { EdgeSessionServiceService } from '../proto/gen/longline/v1/edge_session.js';
import { OperatorServiceService } from '../proto/gen/longline/v1/operator.js';
import { createAssignmentService } from './links/assignment-service.js';
import { createEdgeSessionService, type EdgeSessionsOptions } from './links/edge-sessions.js';
import type { LinkGuard } from './links/link-guard.js';
import type { OperatorApi } from './operator/api.js';
import { createOperatorService } from './operator/grpc-service.js';

const SERVICES = [
  'longline.v1.AssignmentService',
  'longline.v1.EdgeSessionService',
  'longline.v1.OperatorService',
] as const;

/**
 * A peer that vanishes without closing its connection is gone within ten seconds. Connections have no
 * maximum age, because the session of an edge renews its lease.
 */
export function createControlConnections(
  connectionsMax: number,
  metrics: Metrics,
): GrpcConnections {
  const config = {
    keepaliveMs: 5_000,
    keepaliveTimeoutMs: 5_000,
    ageMsMax: 0,
    ageGraceMs: 0,
    connectionsMax,
    // A proxy may carry many links on one connection.
    callsPerConnectionMax: 10_000,
    callsMax: 100_000,
  };
  return new GrpcConnections(config, metrics, 'control');
}

/** Needs of both services of the links. */
type ControlGrpcOptions = EdgeSessionsOptions & {
  readonly controller: Parameters<typeof createAssignmentService>[0];
};

export function createControlGrpc(
  options: ControlGrpcOptions,
  guard: LinkGuard,
  api: OperatorApi,
  connections: GrpcConnections,
): GrpcServer {
  const grpc = createGrpcServer(SERVICES, {
    ...connections.options,
    interceptors: [connections.boundCalls],
  });
  const { watch, reportClosedPort } = createAssignmentService(options.controller);
  const { session } = createEdgeSessionService(options);
  grpc.server.addService(AssignmentServiceService, {
    watch: guard.guard(watch),
    reportClosedPort: guard.guardUnary(reportClosedPort),
  });
  grpc.server.addService(EdgeSessionServiceService, { session: guard.guard(session) });
  grpc.server.addService(withStrictStrings(OperatorServiceService), createOperatorService(api));
  return grpc;
}
