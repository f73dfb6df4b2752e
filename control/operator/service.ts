/** The gRPC OperatorService: the same queries as over HTTP, in the words of the wire. */
import type { handleUnaryCall } from '@grpc/grpc-js';
import type { Refusal } from '../../common/errors.js';
import { toServiceError } from '../../common/grpc-server.js';
import {
  type Edge,
  EdgeState,
  type OperatorServiceServer,
} from '../../proto/gen/longline/v1/operator.js';
import type { EdgeInfo } from './answers.js';
import type { OperatorQueries } from './queries.js';

const STATES = {
  alive: EdgeState.EDGE_STATE_ALIVE,
  suspect: EdgeState.EDGE_STATE_SUSPECT,
  dead: EdgeState.EDGE_STATE_DEAD,
};

export function createOperatorService(queries: OperatorQueries): OperatorServiceServer {
  return {
    getCluster: unary(() => queries.cluster()),
    listEdges: unary(() => ({ edges: queries.edges().edges.map(toWire) })),
    getEdge: unary(({ edgeId }) => {
      const answer = queries.edge(edgeId);
      return 'code' in answer ? answer : { edge: toWire(answer.edge), shards: answer.shards };
    }),
    getEdgeMemory: unary(({ edgeId }) => queries.edgeMemory(edgeId)),
    listShards: unary(() => ({
      shards: queries.shards().shards.map((shard) => ({
        ...shard,
        owner: shard.owner ?? '',
        connections: shard.connections ?? 0,
      })),
    })),
    locateClient: unary(async ({ clientId }) => {
      const answer = await queries.client(clientId);
      return 'code' in answer
        ? answer
        : { ...answer, owner: answer.owner ?? '', ownerUrl: answer.ownerUrl ?? '' };
    }),
  };
}

function unary<Request, Response extends object>(
  answer: (request: Request) => Response | Refusal | Promise<Response | Refusal>,
): handleUnaryCall<Request, Response> {
  return async (call, callback) => {
    const result = await answer(call.request);
    if ('code' in result) callback(toServiceError(result));
    else callback(null, result);
  };
}

/** The wire of version 1 has no word for unknown counts: they are 0 there. */
function toWire(edge: EdgeInfo): Edge {
  return {
    ...edge,
    state: STATES[edge.state],
    capacity: edge.capacity ?? 0,
    shardsSubscribed: edge.shardsSubscribed ?? 0,
    connections: edge.connections ?? 0,
    guests: edge.guests ?? 0,
    ready: edge.ready ?? false,
    lastReportAtMs: edge.lastReportAtMs ?? 0,
  };
}
