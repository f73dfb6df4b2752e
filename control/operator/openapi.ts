/** Routes of the operator API, and the OpenAPI 3.1 document that is made of them. */
import { z } from 'zod';
import { catalogue, type ErrorCode } from '../../common/process/errors.js';
import type { Access } from './access.js';
import { errorAnswer } from './answers.js';
import type { Settings } from './operation-answers.js';
import type { OperatorOrders } from './orders.js';
import type { OperatorQueries } from './queries.js';

/** All that the API is about. */
export interface OperatorApi {
  readonly queries: OperatorQueries;
  readonly orders: OperatorOrders;
  readonly access: Access;
  /** Of this control, without secrets. */
  readonly settings: Settings;
}

export interface Call<Body = unknown> {
  /** The segment as it came, percent-encoded; empty if the path has none. */
  readonly parameter: string;
  /** As the route's schema has it. */
  readonly body: Body;
  readonly actor: string;
  /** The newest event that the shardQueries has; 0: none. */
  readonly after: number;
}

interface RouteOf<Body> {
  /** As OpenAPI writes it; at most one parameter. */
  readonly path: string;
  readonly summary: string;
  readonly answer: z.ZodObject;
  /** Besides those that every read or every write has. */
  readonly rejections: readonly ErrorCode[];
  // A method, so that the table can hold routes of all bodies.
  respond(api: OperatorApi, call: Call<Body>): object | Promise<object>;
}

export interface Route extends RouteOf<unknown> {
  readonly need: 'read' | 'write';
  readonly body?: z.ZodObject;
  /** The event log: it takes `after`, and can be had as a stream. */
  readonly isLog?: boolean;
}

export function read(route: RouteOf<unknown>): Route {
  return { ...route, need: 'read' };
}

export function write<Body extends z.ZodObject>(
  route: RouteOf<z.infer<Body>> & { readonly body: Body },
): Route {
  return { ...route, need: 'write' };
}

export const METHODS = { read: 'GET', write: 'POST' } as const;

/** The version of the API, which is also in its paths. */
const VERSION = '1';

const REFUSALS: Readonly<Record<Route['need'], readonly ErrorCode[]>> = {
  read: ['UNAUTHENTICATED'],
  write: [
    'REQUEST_MALFORMED',
    'PAYLOAD_TOO_LARGE',
    'UNAUTHENTICATED',
    'PERMISSION_DENIED',
    'NOT_LEADER',
  ],
};

export function describeApi(routes: readonly Route[]): object {
  return {
    openapi: '3.1.0',
    info: { title: 'Longline operator API', version: VERSION },
    // Nothing, where no tokens are set.
    security: [{ token: [] }, {}],
    paths: Object.fromEntries(
      routes.map((route) => [
        route.path,
        { [METHODS[route.need].toLowerCase()]: describeRoute(route) },
      ]),
    ),
    components: {
      schemas: { Error: schemaOf(errorAnswer) },
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
    },
  };
}

function describeRoute({ need, path, summary, body, answer, rejections, isLog }: Route): object {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
  const parameters: object[] = names.map((name) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  if (isLog) parameters.push({ name: 'after', in: 'query', schema: { type: 'integer' } });
  const stream = isLog ? { 'text/event-stream': { schema: { type: 'string' } } } : {};
  return {
    summary,
    parameters,
    ...(body && { requestBody: { required: true, content: json(schemaOf(body, 'input')) } }),
    responses: {
      200: { description: 'The answer.', content: { ...json(schemaOf(answer)), ...stream } },
      ...describeRejections([...REFUSALS[need], ...rejections]),
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

/** OpenAPI 3.1 schemas are JSON Schema 2020-12, which needs no saying in each of them. */
function schemaOf(type: z.ZodType, io: 'input' | 'output' = 'output'): object {
  const { $schema: _, ...schema } = z.toJSONSchema(type, { io });
  return schema;
}
