/** The OpenAPI 3.1 document of the operator API, made of its routes. */
import { z } from 'zod';
import { catalogue, type ErrorCode } from '../../common/errors.js';
import { errorAnswer } from './answers.js';
import type { OperatorQueries } from './queries.js';

export interface Route {
  /** As OpenAPI writes it; at most one parameter. */
  readonly path: string;
  readonly summary: string;
  readonly answer: z.ZodObject;
  readonly refusals: readonly ErrorCode[];
  /** @param parameter the segment as it came, percent-encoded; empty if the path has none */
  readonly respond: (queries: OperatorQueries, parameter: string) => object | Promise<object>;
}

/** The version of the API, which is also in its paths. */
const VERSION = '1';

export function describeApi(routes: readonly Route[]): object {
  return {
    openapi: '3.1.0',
    info: { title: 'Longline operator API', version: VERSION },
    paths: Object.fromEntries(routes.map((route) => [route.path, { get: describeRoute(route) }])),
    components: { schemas: { Error: schemaOf(errorAnswer) } },
  };
}

function describeRoute({ path, summary, answer, refusals }: Route): object {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
  return {
    summary,
    parameters: names.map((name) => ({
      name,
      in: 'path',
      required: true,
      schema: { type: 'string' },
    })),
    responses: {
      200: { description: 'The answer.', content: json(schemaOf(answer)) },
      ...describeRefusals(refusals),
    },
  };
}

/** Several codes can share a status. */
function describeRefusals(codes: readonly ErrorCode[]): object {
  const content = json({ $ref: '#/components/schemas/Error' });
  const statuses = new Set(codes.map((code) => catalogue[code].http));
  return Object.fromEntries(
    [...statuses].map((status) => {
      const lines = codes
        .filter((code) => catalogue[code].http === status)
        .map((code) => `${code}: ${catalogue[code].when}.`);
      return [status, { description: lines.join('\n'), content }];
    }),
  );
}

function json(schema: object): object {
  return { 'application/json': { schema } };
}

/** OpenAPI 3.1 schemas are JSON Schema 2020-12, which needs no saying in each of them. */
function schemaOf(type: z.ZodType): object {
  const { $schema: _, ...schema } = z.toJSONSchema(type);
  return schema;
}
