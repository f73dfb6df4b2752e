/**
 * `GET /connect?clientId=…`: looks up the owner edge of a client. The answer is a redirect for
 * clients that follow it (curl -L, EventSource, fetch), or JSON when `Accept` names it.
 *
 * Where devices are authenticated, the router authenticates them, and the address in the answer has
 * a ticket: the token itself is not forwarded.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Authenticator } from '../../common/auth/authenticator.js';
import { bearerOf } from '../../common/auth/tokens.js';
import { shardOf } from '../../common/cluster/shard.js';
import { sendRejection } from '../../common/http/server.js';
import type { AllowedOrigins } from '../../common/net/origin.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Metrics } from '../../common/process/metrics.js';
import { connectUrl, parseConnectQuery } from '../../common/wire/connect-query.js';
import { corsHeaders, preflightHeaders } from '../../common/wire/cors.js';
import { accepts } from '../../common/wire/http-lists.js';
import type { EdgeLookup } from './edge-lookup.js';

interface ConnectRouteOptions {
  readonly lookup: Pick<EdgeLookup, 'find'>;
  readonly shardCount: number;
  readonly corsOrigins: AllowedOrigins;
  readonly authenticator: Authenticator;
  readonly metrics: Metrics;
}

export function addConnectRoute(server: FastifyInstance, options: ConnectRouteOptions): void {
  const { lookup, shardCount, corsOrigins, authenticator, metrics } = options;
  const lookups = metrics.counter(
    'longline_router_lookups_total',
    'Requests to /connect, by answer: redirect, json, no_edge or rejected',
    ['answer'],
  );

  const addCommonHeaders = (request: FastifyRequest, reply: FastifyReply) => {
    reply.header('cache-control', 'no-store');
    for (const [name, value] of corsHeaders(corsOrigins, request.headers.origin)) {
      reply.header(name, value);
    }
  };

  const reject = (reply: FastifyReply, rejected: Rejection) => {
    lookups.inc({ answer: 'rejected' });
    return sendRejection(reply, rejected);
  };

  server.get('/connect', async (request, reply) => {
    addCommonHeaders(request, reply);
    const query = parseConnectQuery(request.url);
    if ('code' in query) return reject(reply, query);
    const { clientId, credentials } = query;
    const token = bearerOf(request.headers.authorization) ?? credentials.token;
    const verified = await authenticator.check(clientId, { ...credentials, token });
    if ('code' in verified) return reject(reply, verified);
    const shard = shardOf(clientId, shardCount);
    const found = await lookup.find(shard);
    if (found === undefined) {
      lookups.inc({ answer: 'no_edge' });
      const message = `shard ${shard} has no owner now; retry later`;
      return sendRejection(reply, rejection('NO_EDGE', message));
    }
    const { edge, position } = found;
    const ticket = authenticator.issueTicket(clientId, verified);
    const url = connectUrl(edge.advertisedUrl, query, position, ticket);
    if (accepts(request.headers.accept, 'application/json')) {
      lookups.inc({ answer: 'json' });
      return reply.send({ clientId, shard, edgeId: edge.id, url, ...position });
    }
    lookups.inc({ answer: 'redirect' });
    return reply.redirect(url, 307);
  });

  server.options('/connect', (request, reply) => {
    addCommonHeaders(request, reply);
    const asked = request.headers['access-control-request-headers'];
    for (const [name, value] of preflightHeaders(asked)) reply.header(name, value);
    return reply.code(204).send();
  });

  server.route({
    method: ['POST', 'PUT', 'PATCH', 'DELETE'],
    url: '/connect',
    // Rejects before the body is read.
    onRequest: async (request, reply) => {
      addCommonHeaders(request, reply);
      reply.header('allow', 'GET, OPTIONS');
      const message = `/connect does not accept ${request.method}; use GET`;
      return sendRejection(reply, rejection('METHOD_NOT_ALLOWED', message));
    },
    handler: () => undefined,
  });
}
