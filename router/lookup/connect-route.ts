/**
 * `GET /connect?clientId=…`: where does this client belong? A redirect for whoever follows it (curl
 * -L, EventSource, fetch), JSON for whoever asks for it by name in `Accept`.
 *
 * Where devices are authenticated, it is done here, and the address that they get has a ticket in
 * it: the token itself does not travel on.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Authenticator } from '../../common/auth/authenticator.js';
import { bearerOf } from '../../common/auth/tokens.js';
import { type Assignment, ownerOf } from '../../common/cluster/assignment.js';
import { shardOf } from '../../common/cluster/shard.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { sendRejection } from '../../common/process/http-server.js';
import type { Metrics } from '../../common/process/metrics.js';
import { connectUrl, parseConnectQuery } from '../../common/wire/connect-query.js';
import { type CorsOrigins, corsHeaders, PREFLIGHT_HEADERS } from '../../common/wire/cors.js';

export function addConnectRoute(
  server: FastifyInstance,
  assignment: () => Assignment | undefined,
  shardCount: number,
  corsOrigins: CorsOrigins,
  authenticator: Authenticator,
  metrics: Metrics,
): void {
  const lookups = metrics.counter(
    'longline_router_lookups_total',
    'Answers to /connect, by kind.',
    ['answer'],
  );

  const answerCommon = (request: FastifyRequest, reply: FastifyReply) => {
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
    answerCommon(request, reply);
    const query = parseConnectQuery(request.url);
    if ('code' in query) return reject(reply, query);
    const { clientId, credentials } = query;
    const token = bearerOf(request.headers.authorization) ?? credentials.token;
    const verified = await authenticator.check(clientId, { ...credentials, token });
    if ('code' in verified) return reject(reply, verified);
    const shard = shardOf(clientId, shardCount);
    const current = assignment();
    const owner = current && ownerOf(current, shard);
    if (owner === undefined) {
      lookups.inc({ answer: 'no_edge' });
      reply.header('retry-after', '1');
      return sendRejection(
        reply,
        rejection('NO_EDGE', `no edge owns shard ${shard} at the moment`),
      );
    }
    const { position } = current!;
    const ticket = authenticator.issueTicket(clientId, verified);
    const url = connectUrl(owner.advertisedUrl, query, position, ticket);
    if (request.headers.accept?.includes('application/json')) {
      lookups.inc({ answer: 'json' });
      return reply.send({ clientId, shard, edgeId: owner.id, url, ...position });
    }
    lookups.inc({ answer: 'redirect' });
    return reply.redirect(url, 307);
  });

  server.options('/connect', (request, reply) => {
    answerCommon(request, reply);
    for (const [name, value] of PREFLIGHT_HEADERS) reply.header(name, value);
    return reply.code(204).send();
  });

  server.route({
    method: ['POST', 'PUT', 'PATCH', 'DELETE'],
    url: '/connect',
    handler: (request, reply) => {
      reply.header('allow', 'GET, OPTIONS');
      const why = `/connect is for GET, not ${request.method}`;
      return sendRejection(reply, rejection('METHOD_NOT_ALLOWED', why));
    },
  });
}
