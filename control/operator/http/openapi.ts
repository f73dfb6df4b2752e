/** The OpenAPI 3.1 document of the operator API, generated from its routes. */
import { z } from 'zod';
import { flightStep } from '../../../common/http/flight-steps.js';
import { contentOf, describeRejections, NamedSchemas } from '../../../common/http/openapi.js';
import type { ErrorCode } from '../../../common/process/errors.js';
import { METHODS, type Route } from '../api.js';
import * as canaries from '../canaries.js';
import { clientPush, clientPushesResponse } from '../clients/client-pushes.js';
import * as clientRequests from '../clients/requests.js';
import * as clients from '../clients/responses.js';
import * as cluster from '../cluster-responses.js';
import * as ledger from '../ledger.js';
import * as operation from '../operation-responses.js';
import * as bodies from '../request-bodies.js';
import { slowPush, slowPushesResponse } from '../slow-pushes.js';

/** The version of the API, which is also in its paths. */
const VERSION = '1';

const DESCRIPTION =
  'Shows the state of a Longline cluster and moves its shards. Every control serves it. A control ' +
  'that does not lead passes requests on to the leader. A request to change something is ' +
  '`POST` with `content-type: application/json`.';

const POST_REJECTIONS: readonly ErrorCode[] = [
  'REQUEST_MALFORMED',
  'PAYLOAD_TOO_LARGE',
  'UNAUTHENTICATED',
  'PERMISSION_DENIED',
  'NOT_LEADER',
];

const COMMON_REJECTIONS: Readonly<Record<Route['permission'], readonly ErrorCode[]>> = {
  read: ['UNAUTHENTICATED'],
  write: POST_REJECTIONS,
  payload: POST_REJECTIONS,
  report: POST_REJECTIONS,
};

const schemas = new NamedSchemas({
  output: {
    Error: cluster.errorResponse,
    Position: cluster.position,
    Intent: cluster.intent,
    Move: cluster.move,
    Build: cluster.clusterResponse.shape.build,
    Cluster: cluster.clusterResponse,
    Edge: cluster.edgesResponse.shape.edges.element,
    Members: cluster.membersResponse,
    History: cluster.historyResponse,
    Ledger: ledger.ledgerResponse,
    ShardLedgers: ledger.shardLedgersResponse,
    CanaryList: canaries.canariesResponse,
    Canary: canaries.canariesResponse.shape.canaries.element,
    CanaryReported: canaries.reportedResponse,
    EdgeList: cluster.edgesResponse,
    EdgeDetail: cluster.edgeResponse,
    EdgeMemory: cluster.memoryResponse,
    MemoryPart: cluster.memoryResponse.shape.parts.element,
    Shard: cluster.shardsResponse.shape.shards.element,
    ShardList: cluster.shardsResponse,
    ShardMap: cluster.shardMapResponse,
    Client: cluster.clientResponse,
    Connection: cluster.clientResponse.shape.connections.element,
    Moves: operation.movesResponse,
    MoveInFlight: operation.movesResponse.shape.inFlight.element,
    Drain: operation.movesResponse.shape.drains.element,
    Plan: operation.planResponse,
    Transfer: operation.planResponse.shape.transfers.element,
    EdgeIntent: operation.intentResponse,
    Event: operation.eventsResponse.shape.events.element,
    EventList: operation.eventsResponse,
    User: cluster.userResponse,
    ConnectedClient: clients.clientInfo,
    ClientPage: clients.clientsResponse,
    SlowClients: clients.slowClientsResponse,
    InboxList: clients.inboxListResponse,
    StoredPush: clients.inboxListResponse.shape.pushes.element,
    Payload: clients.payloadResponse,
    TestPush: clients.pushResponse,
    ClientEventList: clients.trailResponse,
    ClientEvent: clients.trailResponse.shape.events.element,
    ClientPushList: clientPushesResponse,
    ClientPush: clientPush,
    Disconnect: clients.disconnectInfo,
    DisconnectList: clients.disconnectsResponse,
    Revocation: clients.revocationInfo,
    RevocationList: clients.revocationsResponse,
    Unrevoke: clients.unrevokeResponse,
    Block: operation.blockResponse,
    BlockList: operation.blocksResponse,
    Unblock: operation.unblockResponse,
    Settings: operation.settingsResponse,
    SlowPush: slowPush,
    SlowPushList: slowPushesResponse,
    FlightStep: flightStep,
  },
  input: {
    ReasonRequest: bodies.reasonBody,
    CanaryReport: canaries.canaryReport,
    RebalanceRequest: bodies.rebalanceBody,
    DrainRequest: bodies.drainBody,
    CordonRequest: bodies.cordonBody,
    DisconnectRequest: clientRequests.disconnectBody,
    PayloadRequest: clientRequests.payloadBody,
    TestPushRequest: clientRequests.pushBody,
    RevokeRequest: clientRequests.revokeBody,
    UnrevokeRequest: clientRequests.unrevokeBody,
    BlockRequest: bodies.blockBody,
    UnblockRequest: bodies.unblockBody,
  },
});

export function describeApi(routes: readonly Route[]): object {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Longline operator API',
      version: VERSION,
      description: DESCRIPTION,
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/', description: 'The control that serves this document.' }],
    // The empty entry: a control without configured tokens requires none.
    security: [{ token: [] }, {}],
    paths: Object.fromEntries(
      routes.map((route) => [
        route.path,
        { [METHODS[route.permission].toLowerCase()]: describeRoute(route) },
      ]),
    ),
    components: {
      schemas: schemas.components,
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          description: 'A token of LONGLINE_CONTROL_OPERATOR_TOKENS or, to read, of a viewer.',
        },
      },
    },
  };
}

const PATH_PARAMETERS: Readonly<Record<string, string>> = {
  clientId: 'The clientId, percent-encoded.',
  user: 'The user, percent-encoded.',
  id: 'Id of the edge.',
};

function queryParameters(query: z.ZodObject): object[] {
  return Object.entries(query.shape).map(([name, type]) => {
    // Numbers are parsed from text: what they become describes them.
    const { $schema: _, description, ...schema } = z.toJSONSchema(type, { io: 'output' });
    return { name, in: 'query', description, schema };
  });
}

function describeRoute(route: Route): object {
  const { permission, path, operationId, summary, body, response, rejections, isLog } = route;
  const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
  const parameters: object[] = names.map((name) => ({
    name,
    in: 'path',
    required: true,
    description: PATH_PARAMETERS[name],
    schema: { type: 'string' },
  }));
  if (route.query !== undefined) parameters.push(...queryParameters(route.query));
  if (isLog) {
    parameters.push({
      name: 'after',
      in: 'query',
      description: 'Id of the newest event that the caller has. Absent: all stored events.',
      schema: { type: 'integer' },
    });
  }
  const stream = isLog ? contentOf({ type: 'string' }, 'text/event-stream') : {};
  return {
    operationId,
    summary,
    parameters,
    ...(body && {
      requestBody: { required: true, content: contentOf(schemas.referenceTo(body, 'input')) },
    }),
    responses: {
      200: {
        description: 'Success.',
        content: { ...contentOf(schemas.referenceTo(response, 'output')), ...stream },
      },
      ...describeRejections([...COMMON_REJECTIONS[permission], ...rejections]),
    },
  };
}
