/** The OpenAPI 3.1 document of the operator API, generated from its routes. */
import { z } from 'zod';
import { catalogue, type ErrorCode } from '../../common/process/errors.js';
import { METHODS, type Route } from './api.js';
import { errorResponse } from './cluster-responses.js';

/** The version of the API, which is also in its paths. */
const VERSION = '1';

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

export function describeApi(routes: readonly Route[]): object {
  return {
    openapi: '3.1.0',
    info: { title: 'Longline operator API', version: VERSION },
    // The empty entry: a control without configured tokens requires none.
    security: [{ token: [] }, {}],
    paths: Object.fromEntries(
      routes.map((route) => [
        route.path,
        { [METHODS[route.permission].toLowerCase()]: describeRoute(route) },
      ]),
    ),
    components: {
      schemas: { Error: schemaOf(errorResponse) },
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
    },
  };
}

function describeRoute(route: Route): object {
  const { permission, path, summary, body, response, rejections, isLog } = route;
  const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
  const parameters: object[] = names.map((name) => ({
    name,
    in: 'path',
    required: true,
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
    summary,
    parameters,
    ...(body && { requestBody: { required: true, content: json(schemaOf(body, 'input')) } }),
    responses: {
      200: { description: 'Success.', content: { ...json(schemaOf(response)), ...stream } },
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

/** OpenAPI 3.1 schemas are JSON Schema 2020-12, so `$schema` is redundant. */
function schemaOf(type: z.ZodType, io: 'input' | 'output' = 'output'): object {
  const { $schema: _, ...schema } = z.toJSONSchema(type, { io });
  return schema;
}
