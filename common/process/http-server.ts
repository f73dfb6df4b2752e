/**
 * The HTTP server of every role for operators and probes: `/healthz`, `/readyz` and `/metrics`.
 * Router and control add their own routes. Client connections use other ports.
 */
import type { AddressInfo } from 'node:net';
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { catalogue, type ErrorCode, errorBody, type Rejection, rejection } from './errors.js';
import type { Metrics } from './metrics.js';

/** Returns why the process cannot serve at the moment; empty when it can. */
export type ReadinessCheck = () => readonly string[];

const BODY_BYTES_MAX = 64 * 1024;

export function createHttpServer(
  metrics: Metrics,
  notReadyReasons: ReadinessCheck,
): FastifyInstance {
  const server = Fastify({
    bodyLimit: BODY_BYTES_MAX,
    routerOptions: { maxParamLength: 1024 },
    frameworkErrors: (_error, _request, reply) =>
      sendRejection(reply, rejection('REQUEST_MALFORMED', 'the request path cannot be decoded')),
  });
  server.setNotFoundHandler((request, reply) => {
    const [path] = request.url.split('?', 1);
    return sendRejection(reply, rejection('NOT_FOUND', `no route for ${request.method} ${path}`));
  });
  server.setErrorHandler((error: { statusCode?: number; message: string }, _request, reply) => {
    return sendRejection(reply, rejection(errorCodeOf(error.statusCode), error.message));
  });
  server.get('/healthz', () => ({ status: 'ok' }));
  addReadyRoute(server, '/readyz', notReadyReasons);
  server.get('/metrics', async (_request, reply) => {
    reply.header('content-type', metrics.registry.contentType);
    return metrics.registry.metrics();
  });
  return server;
}

/** Responds with 200 when the check returns no reason, else with 503 and the reasons. */
export function addReadyRoute(
  server: FastifyInstance,
  path: string,
  notReadyReasons: ReadinessCheck,
): void {
  server.get(path, (_request, reply) => {
    const reasons = notReadyReasons();
    if (reasons.length === 0) return { status: 'ready' };
    return reply
      .code(catalogue.NOT_READY.http)
      .send({ ...errorBody(rejection('NOT_READY', reasons.join('; '))), reasons });
  });
}

/** Starts to listen. Resolves with the bound port. */
export async function listenHttp(
  server: FastifyInstance,
  host: string,
  port: number,
): Promise<number> {
  await server.listen({ host, port });
  return (server.server.address() as AddressInfo).port;
}

export function sendRejection(reply: FastifyReply, rejected: Rejection): FastifyReply {
  const status = catalogue[rejected.code].http;
  // RFC 9110 §11.6.1
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  return reply.code(status).send(errorBody(rejected));
}

/** @param statusCode the status that Fastify would respond with */
function errorCodeOf(statusCode: number | undefined): ErrorCode {
  if (statusCode === undefined || statusCode >= 500) return 'INTERNAL';
  return statusCode === 413 ? 'PAYLOAD_TOO_LARGE' : 'REQUEST_MALFORMED';
}
