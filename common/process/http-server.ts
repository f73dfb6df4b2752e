/**
 * The HTTP server that every role has for people and probes: `/healthz`, `/readyz`, `/metrics`,
 * to which router and control add their own routes. Devices never come here.
 */
import type { AddressInfo } from 'node:net';
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { catalogue, type ErrorCode, errorBody, type Rejection, rejection } from './errors.js';
import type { Metrics } from './metrics.js';

/** Why the process cannot serve at the moment; empty when it can. */
export type ReadyCheck = () => readonly string[];

const BODY_BYTES_MAX = 64 * 1024;

export function createHttpServer(metrics: Metrics, notReadyReasons: ReadyCheck): FastifyInstance {
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
    return sendRejection(reply, rejection(codeOf(error.statusCode), error.message));
  });
  server.get('/healthz', () => ({ status: 'ok' }));
  addReadyRoute(server, '/readyz', notReadyReasons);
  server.get('/metrics', async (_request, reply) => {
    reply.header('content-type', metrics.registry.contentType);
    return metrics.registry.metrics();
  });
  return server;
}

/** Answers 200 when there is no reason not to be ready, else 503 with the reasons. */
export function addReadyRoute(
  server: FastifyInstance,
  path: string,
  notReadyReasons: ReadyCheck,
): void {
  server.get(path, (_request, reply) => {
    const reasons = notReadyReasons();
    if (reasons.length === 0) return { status: 'ready' };
    return reply
      .code(catalogue.NOT_READY.http)
      .send({ ...errorBody(rejection('NOT_READY', reasons.join('; '))), reasons });
  });
}

/** Starts to listen and resolves with the port. */
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
  // RFC 9110 §11.6.1: which authentication would help.
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  return reply.code(status).send(errorBody(rejected));
}

/** @param statusCode what the HTTP library would answer */
function codeOf(statusCode: number | undefined): ErrorCode {
  if (statusCode === undefined || statusCode >= 500) return 'INTERNAL';
  return statusCode === 413 ? 'PAYLOAD_TOO_LARGE' : 'REQUEST_MALFORMED';
}
