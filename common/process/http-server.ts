/**
 * The HTTP server of every role for operators and probes: `/healthz`, `/readyz` and `/metrics`.
 * Router and control add their own routes. Client connections use other ports.
 */
import { STATUS_CODES } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { catalogue, type ErrorCode, errorBody, type Rejection, rejection } from './errors.js';
import { listenOn, within } from './lifecycle.js';
import type { Metrics } from './metrics.js';
import type { ReadinessCheck } from './readiness.js';

const BODY_BYTES_MAX = 64 * 1024;

/** Returns the headers of rejections that no route sends, by the Origin of the request. */
export type RejectionHeaders = (
  origin: string | undefined,
) => readonly (readonly [name: string, value: string])[];

export function createHttpServer(
  metrics: Metrics,
  checkReadiness: ReadinessCheck,
  rejectionHeaders: RejectionHeaders = () => [],
): FastifyInstance {
  const reject = (request: FastifyRequest, reply: FastifyReply, rejected: Rejection) => {
    const { origin } = request.headers;
    for (const [name, value] of rejectionHeaders(origin)) reply.header(name, value);
    return sendRejection(reply, rejected);
  };
  const server = Fastify({
    bodyLimit: BODY_BYTES_MAX,
    routerOptions: { maxParamLength: 1024 },
    frameworkErrors: (_error, request, reply) => {
      const message = 'the request path cannot be decoded';
      reject(request, reply, rejection('REQUEST_MALFORMED', message));
    },
    clientErrorHandler: (error, socket) => rejectUnread(error, socket, rejectionHeaders(undefined)),
  });
  server.setNotFoundHandler((request, reply) => {
    const [path] = request.url.split('?', 1);
    return reject(request, reply, rejection('NOT_FOUND', `no route for ${request.method} ${path}`));
  });
  server.setErrorHandler((error: { statusCode?: number; message: string }, request, reply) => {
    return reject(request, reply, rejection(errorCodeOf(error.statusCode), error.message));
  });
  server.get('/healthz', () => ({ status: 'ok' }));
  addReadyRoute(server, '/readyz', checkReadiness);
  server.get('/metrics', async (_request, reply) => {
    reply.header('content-type', metrics.registry.contentType);
    return metrics.registry.metrics();
  });
  return server;
}

/** Responds with 200 when the process can serve, else with 503; in both cases with all reasons. */
export function addReadyRoute(
  server: FastifyInstance,
  path: string,
  checkReadiness: ReadinessCheck,
): void {
  server.get(path, (_request, reply) => {
    const { notReady, degraded } = checkReadiness();
    const reasons = [...notReady, ...degraded];
    if (notReady.length === 0) return { status: 'ready', reasons };
    return reply
      .code(catalogue.NOT_READY.http)
      .send({ ...errorBody(rejection('NOT_READY', reasons.join('; '))), reasons });
  });
}

/** Starts to listen. Resolves with the bound port. @throws EnvironmentError when it cannot */
export function listenHttp(server: FastifyInstance, host: string, port: number): Promise<number> {
  return listenOn(host, port, async () => {
    await server.listen({ host, port });
    return (server.server.address() as AddressInfo).port;
  });
}

/** Time for responses in flight when the server closes. */
const CLOSE_MS_MAX = 1_000;

/** Stops to listen, ends idle connections, and after a second all others. */
export async function closeHttp(server: FastifyInstance): Promise<void> {
  await within(CLOSE_MS_MAX, server.close());
  server.server.closeAllConnections();
}

/** Rejects a request that the parser of Node.js cannot read. */
function rejectUnread(
  { code }: NodeJS.ErrnoException,
  socket: Socket,
  headers: ReturnType<RejectionHeaders>,
): void {
  if (code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const rejected =
    code === 'HPE_HEADER_OVERFLOW'
      ? rejection('HEAD_TOO_LARGE', 'the request head is too large')
      : code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? rejection('HEAD_TIMEOUT', 'the request was not complete in time')
        : rejection('REQUEST_MALFORMED', 'the request is not valid HTTP/1.1');
  const status = catalogue[rejected.code].http;
  const body = JSON.stringify(errorBody(rejected));
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    ...headers.map(([name, value]) => `${name}: ${value}`),
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`);
}

export function sendRejection(reply: FastifyReply, rejected: Rejection): FastifyReply {
  const status = catalogue[rejected.code].http;
  // RFC 9110 §10.2.3
  if (status === 503) reply.header('retry-after', `${rejected.retryAfterS ?? 1}`);
  // RFC 9110 §11.6.1
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  return reply.code(status).send(errorBody(rejected));
}

/** @param statusCode the status that Fastify would respond with */
function errorCodeOf(statusCode: number | undefined): ErrorCode {
  if (statusCode === undefined || statusCode >= 500) return 'INTERNAL';
  return statusCode === 413 ? 'PAYLOAD_TOO_LARGE' : 'REQUEST_MALFORMED';
}
