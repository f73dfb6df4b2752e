/** The gRPC server of control, with its three services. */
import { GrpcConnections } from '../common/process/grpc/connections.js';
import { createGrpcServer, type GrpcServer } from '../common/process/grpc/grpc-server.js';
import { NumberReader } from '../common/process/grpc/number-reader.js';
import { shareFrames } from '../common/process/grpc/shared-frames.js';
import { withStrictStrings } from '../common/process/grpc/strict-strings.js';
import type { Metrics } from '../common/process/metrics.js';
import { AssignmentServiceService } from '../proto/gen/longline/v1/assignment.js';
import {
  EdgeSessionServiceService,
  SessionRequest,
} from '../proto/gen/longline/v1/edge_session.js';
import { OperatorServiceService } from '../proto/gen/longline/v1/operator.js';
import { createAssignmentService } from './links/assignment-service.js';
import { AssignmentUpdates, updateIn } from './links/assignment-updates.js';
import { createEdgeSessionService, type EdgeSessionsOptions } from './links/edge-sessions.js';
import type { LinkGuard } from './links/link-guard.js';
import type { OperatorApi } from './operator/api.js';
import { createOperatorService } from './operator/grpc-service.js';

const SERVICES = [
  'longline.v1.AssignmentService',
  'longline.v1.EdgeSessionService',
  'longline.v1.OperatorService',
] as const;

const { watch: WATCH } = AssignmentServiceService;
const { session: SESSION } = EdgeSessionServiceService;
export const EDGE_SESSION_SERVICE = {
  ...EdgeSessionServiceService,
  session: {
    ...SESSION,
    requestDeserialize: (bytes: Buffer) => SessionRequest.decode(new NumberReader(bytes)),
  },
};

/**
 * A peer that vanishes without closing its connection is gone within ten seconds. Connections have
 * no maximum age, because the session of an edge renews its lease.
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
    requestMsMax: 60_000,
  };
  return new GrpcConnections(config, metrics, 'control');
}

/** Needs of both services of the links. */
type ControlGrpcOptions = Omit<EdgeSessionsOptions, 'updates'> & {
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
    interceptors: [...connections.interceptors, shareFrames([WATCH.path, SESSION.path], updateIn)],
  });
  const updates = new AssignmentUpdates(options.controller, options.metrics);
  const { watch, reportClosedPort, reportLoad } = createAssignmentService(
    options.controller,
    updates,
  );
  const { session } = createEdgeSessionService({ ...options, updates });
  grpc.server.addService(AssignmentServiceService, {
    watch: guard.guard(watch),
    reportClosedPort: guard.guardUnary(reportClosedPort),
    reportLoad: guard.guardUnary(reportLoad),
  });
  grpc.server.addService(EDGE_SESSION_SERVICE, { session: guard.guard(session) });
  grpc.server.addService(withStrictStrings(OperatorServiceService), createOperatorService(api));
  return grpc;
}
