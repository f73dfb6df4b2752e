/**
 * The HTTP server of every role for operators and probes: `/healthz`, `/readyz` and `/metrics`.
 * Router and control add their own routes. Client connections use other ports.
 */
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { createServer, STATUS_CODES } from '../net/node-http.js';
import {
  catalogue,
  type ErrorCode,
  errorBody,
  type Rejection,
  rejection,
} from '../process/errors.js';
import { listenOn, within } from '../process/lifecycle.js';
import type { Metrics } from '../process/metrics.js';
import type { ReadinessCheck } from '../process/readiness.js';
import type { HttpConnections } from './connections.js';

/** Routes that take a body have a bound of their own. */
const BODY_BYTES_MAX = 1;
const LIMITS = {
  /** As on an edge by default. */
  maxHeaderSize: 8 * 1024,
  /** From the connect, or the first byte of a later request, to the end of its head. */
  headersTimeout: 10_000,
  /** The same to the end of its body. */
  requestTimeout: 20_000,
  /**
   * Between two requests. Longer than the 60 s of common load balancers, which must close first.
   */
  keepAliveTimeout: 72_000,
  /** How often Node.js checks the two timeouts of the head and the request. */
  connectionsCheckingInterval: 1_000,
};
/** Connections that the kernel may have accepted already; it has a maximum of its own. */
const BACKLOG = 4_096;
/** Time for the client to close a connection whose request could not be read. */
const LINGER_MS = 2_000;

/** Returns the headers of rejections that no route sends, by the Origin of the request. */
export type RejectionHeaders = (
  origin: string | undefined,
) => readonly (readonly [name: string, value: string])[];

export function createHttpServer(
  metrics: Metrics,
  connections: HttpConnections,
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
    // `serverFactory` adds its own handler to the server.
    clientErrorHandler: () => {},
    serverFactory: (handler) => {
      const http = createServer(LIMITS, handler);
      http.on('clientError', (error, socket) => {
        const code = rejectUnread(error, socket, rejectionHeaders(undefined));
        if (code !== undefined) connections.onUnreadable(code);
      });
      connections.attach(http);
      return http;
    },
    routerOptions: { maxParamLength: 1024 },
    // Fastify's own compilers need a third of its modules. Not to load them saves a start a tenth
    // of its processor time.
    schemaController: {
      compilersFactory: { buildValidator: withoutSchemas, buildSerializer: withoutSchemas },
    },
    frameworkErrors: (_error, request, reply) => {
      const message = 'the request path cannot be decoded';
      reject(request, reply, rejection('REQUEST_MALFORMED', message));
    },
  });
  server.addHook('onSend', (request, _reply, payload, done) => {
    connections.onSend(request.raw, sizeOf(payload));
    done();
  });
  // Before the body is read: in chunks of a byte it would take fifty times its size.
  server.addHook('onRequest', async (request, reply) => {
    if (!request.is404) return undefined;
    const [path] = request.url.split('?', 1);
    return reject(request, reply, rejection('NOT_FOUND', `no route for ${request.method} ${path}`));
  });
  server.setErrorHandler((error: { statusCode?: number; message: string }, request, reply) => {
    return reject(request, reply, rejection(errorCodeOf(error.statusCode), error.message));
  });
  server.get('/healthz', () => ({ status: 'ok' }));
  addReadyRoute(server, '/readyz', checkReadiness);
  const render = oncePerTurn(async () => Buffer.from(await metrics.registry.metrics()));
  server.get('/metrics', async (_request, reply) => {
    reply.header('content-type', metrics.registry.contentType);
    return render();
  });
  return server;
}

/** No route gives Fastify a schema. */
function withoutSchemas(): never {
  throw new Error('routes check requests and encode responses themselves');
}

/** Calls in one turn of the event loop share one result: what many clients request costs little. */
function oncePerTurn<Result>(compute: () => Promise<Result>): () => Promise<Result> {
  let shared: Promise<Result> | undefined;
  return () => {
    if (shared !== undefined) return shared;
    setImmediate(() => {
      shared = undefined;
    });
    shared = compute();
    return shared;
  };
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
    await server.listen({ host, port, backlog: BACKLOG });
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

/** A response whose size is unknown is a stream, whose source waits for its client. */
function sizeOf(payload: unknown): number {
  return typeof payload === 'string' || payload instanceof Uint8Array ? payload.length : 0;
}

/** Rejects a request that the parser of Node.js cannot read. */
function rejectUnread(
  { code }: NodeJS.ErrnoException,
  socket: Duplex,
  headers: ReturnType<RejectionHeaders>,
): ErrorCode | undefined {
  if (code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return undefined;
  }
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
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
  return rejected.code;
}

export function sendRejection(reply: FastifyReply, rejected: Rejection): FastifyReply {
  const status = catalogue[rejected.code].http;
  // RFC 9110 §10.2.3
  if (status === 503) reply.header('retry-after', `${rejected.retryAfterS ?? 1}`);
  // RFC 9110 §11.6.1
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  if (hasBody(reply.request)) reply.header('connection', 'close');
  return reply.code(status).send(errorBody(rejected));
}

/** The rest of a body need not be read where the connection is closed. */
function hasBody({ headers }: FastifyRequest): boolean {
  return 'transfer-encoding' in headers || (headers['content-length'] ?? '0') !== '0';
}

/** @param statusCode the status that Fastify would respond with */
function errorCodeOf(statusCode: number | undefined): ErrorCode {
  if (statusCode === undefined || statusCode >= 500) return 'INTERNAL';
  return statusCode === 413 ? 'PAYLOAD_TOO_LARGE' : 'REQUEST_MALFORMED';
}
