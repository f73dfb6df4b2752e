/** The operator API over HTTP: one table of routes, from which the OpenAPI document comes, too. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { parseEncodedClientId } from '../../common/client-id.js';
import { type Refusal, refusal } from '../../common/errors.js';
import { sendRefusal } from '../../common/http-server.js';
import {
  clientAnswer,
  clusterAnswer,
  edgeAnswer,
  edgesAnswer,
  memoryAnswer,
  shardsAnswer,
} from './answers.js';
import { describeApi, type Route } from './openapi.js';
import type { OperatorQueries } from './queries.js';

const routes: readonly Route[] = [
  {
    path: '/v1/cluster',
    summary: 'The cluster in a few numbers.',
    answer: clusterAnswer,
    refusals: [],
    respond: (queries) => queries.cluster(),
  },
  {
    path: '/v1/edges',
    summary: 'All edges that control has heard of, dead ones for some minutes.',
    answer: edgesAnswer,
    refusals: [],
    respond: (queries) => queries.edges(),
  },
  {
    path: '/v1/edges/{id}',
    summary: 'One edge and its shards.',
    answer: edgeAnswer,
    refusals: ['NOT_FOUND'],
    // An id has only characters that need no encoding, so an encoded one is simply not found.
    respond: (queries, id) => queries.edge(id),
  },
  {
    path: '/v1/edges/{id}/memory',
    summary: 'Where the memory of an edge is, and what of it a connection costs.',
    answer: memoryAnswer,
    refusals: ['NOT_FOUND', 'NOT_READY'],
    respond: (queries, id) => queries.edgeMemory(id),
  },
  {
    path: '/v1/shards',
    summary: 'All shards: tag, owner, connections.',
    answer: shardsAnswer,
    refusals: [],
    respond: (queries) => queries.shards(),
  },
  {
    path: '/v1/clients/{clientId}',
    summary: 'Where a client belongs, and where it is connected now.',
    answer: clientAnswer,
    refusals: ['CLIENT_ID_INVALID', 'REDIS_UNAVAILABLE', 'OVERLOADED'],
    respond: (queries, encoded) => {
      const clientId = parseEncodedClientId(encoded);
      return typeof clientId === 'string' ? queries.client(clientId) : clientId;
    },
  },
];

const OTHER_METHODS = ['DELETE', 'OPTIONS', 'PATCH', 'POST', 'PUT'];

export function addOperatorRoutes(server: FastifyInstance, queries: OperatorQueries): void {
  const document = describeApi(routes);
  const openapi = '/v1/openapi.json';
  addRoute(server, openapi, () => document);
  for (const { path, respond } of routes) {
    const [prefix, suffix] = path.split(/\{\w+\}/) as [string, string?];
    // A wildcard, because a clientId may have any length and any encoded character in it.
    const url =
      suffix === undefined ? path : suffix === '' ? `${prefix}*` : `${prefix}:id${suffix}`;
    addRoute(server, url, (request) => {
      const [called] = request.raw.url!.split('?', 1) as [string];
      return respond(queries, called.slice(prefix.length, called.length - (suffix ?? '').length));
    });
  }
}

function addRoute(
  server: FastifyInstance,
  url: string,
  respond: (request: FastifyRequest) => object | Promise<object>,
): void {
  // HEAD comes with GET.
  server.get(url, async (request, reply) => {
    const answer = await respond(request);
    return isRefusal(answer) ? sendRefusal(reply, answer) : answer;
  });
  server.route({
    method: OTHER_METHODS,
    url,
    // Refused before the body is read, whatever it is.
    onRequest: (request, reply) => refuseMethod(request, reply),
    handler: () => undefined,
  });
}

async function refuseMethod(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  reply.header('allow', 'GET, HEAD');
  return sendRefusal(
    reply,
    refusal('METHOD_NOT_ALLOWED', `${request.method} is not GET or HEAD, which this path has`),
  );
}

function isRefusal(answer: object): answer is Refusal {
  return 'code' in answer;
}
