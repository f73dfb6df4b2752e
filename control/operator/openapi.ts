/** The OpenAPI 3.1 document of the operator API, generated from its routes. */
import { z } from 'zod';
import { catalogue, type ErrorCode } from '../../common/process/errors.js';
import { METHODS, type Route } from './api.js';
import * as cluster from './cluster-responses.js';
import * as operation from './operation-responses.js';
import * as bodies from './request-bodies.js';

/** The version of the API, which is also in its paths. */
const VERSION = '1';

const DESCRIPTION =
  'Shows the state of a Longline cluster and moves its shards. Every control serves it. A control ' +
  'that does not lead passes requests on to the leader. A request to change something is ' +
  '`POST` with `content-type: application/json`.';

const COMMON_REJECTIONS: Readonly<Record<Route['permission'], readonly ErrorCode[]>> = {
  read: ['UNAUTHENTICATED'],
  write: [
    'REQUEST_MALFORMED',
    'PAYLOAD_TOO_LARGE',
    'UNAUTHENTICATED',
    'PERMISSION_DENIED',
    'NOT_LEADER',
  ],
};

/** Schemas with a name in `components`; others are inline. Names are types in generated clients. */
const NAMED = {
  output: {
    Error: cluster.errorResponse,
    Position: cluster.position,
    Intent: cluster.intent,
    Move: cluster.move,
    Build: cluster.clusterResponse.shape.build,
    Cluster: cluster.clusterResponse,
    Edge: cluster.edgesResponse.shape.edges.element,
    EdgeList: cluster.edgesResponse,
    EdgeDetail: cluster.edgeResponse,
    EdgeMemory: cluster.memoryResponse,
    MemoryPart: cluster.memoryResponse.shape.parts.element,
    Shard: cluster.shardsResponse.shape.shards.element,
    ShardList: cluster.shardsResponse,
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
    Settings: operation.settingsResponse,
  },
  input: {
    ReasonRequest: bodies.reasonBody,
    RebalanceRequest: bodies.rebalanceBody,
    DrainRequest: bodies.drainBody,
    CordonRequest: bodies.cordonBody,
  },
} as const;

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
      schemas: { ...schemasOf('output'), ...schemasOf('input') },
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

function describeRoute(route: Route): object {
  const { permission, path, operationId, summary, body, response, rejections, isLog } = route;
  const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
  const parameters: object[] = names.map((name) => ({
    name,
    in: 'path',
    required: true,
    description: name === 'clientId' ? 'The clientId, percent-encoded.' : 'Id of the edge.',
    schema: { type: 'string' },
  }));
  if (isLog) {
    parameters.push({
      name: 'after',
      in: 'query',
      description: 'Id of the newest event that the caller has. Absent: all stored events.',
      schema: { type: 'integer' },
    });
  }
  const stream = isLog ? { 'text/event-stream': { schema: { type: 'string' } } } : {};
  return {
    operationId,
    summary,
    parameters,
    ...(body && { requestBody: { required: true, content: json(referenceTo(body, 'input')) } }),
    responses: {
      200: {
        description: 'Success.',
        content: { ...json(referenceTo(response, 'output')), ...stream },
      },
      ...describeRejections([...COMMON_REJECTIONS[permission], ...rejections]),
    },
  };
}

/** Several codes can share a status. */
function describeRejections(codes: readonly ErrorCode[]): object {
  const content = json({ $ref: '#/components/schemas/Error' });
  const statuses = new Set(codes.map((code) => catalogue[code].http));
  return Object.fromEntries(
    [...statuses].map((status) => {
      const lines = codes
        .filter((code) => catalogue[code].http === status)
        .map((code) => `${code}: ${catalogue[code].when}`);
      return [status, { description: lines.join('\n'), content }];
    }),
  );
}

function json(schema: object): object {
  return { 'application/json': { schema } };
}

type Direction = keyof typeof NAMED;

/** @throws Error for a schema of a route without a name */
function referenceTo(type: z.ZodType, io: Direction): object {
  const found = Object.entries<z.ZodType>(NAMED[io]).find(([, each]) => each === type);
  if (found === undefined) throw new Error('a body or response of the operator API has no name');
  return { $ref: pathOf(found[0]) };
}

function pathOf(name: string): string {
  return `#/components/schemas/${name}`;
}

/** OpenAPI 3.1 schemas are JSON Schema 2020-12, so `$schema` is redundant, and so is the id. */
function schemasOf(io: Direction): Record<string, object> {
  const named = z.registry<{ id: string }>();
  for (const [id, type] of Object.entries<z.ZodType>(NAMED[io])) named.add(type, { id });
  const { schemas } = z.toJSONSchema(named, { io, uri: pathOf });
  return Object.fromEntries(
    Object.entries(schemas).map(([name, { $schema: _, $id: __, ...schema }]) => [name, schema]),
  );
}
