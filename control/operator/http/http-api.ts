/** The operator API over HTTP. */
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { parseBody } from '../../../common/http/parse-body.js';
import { sendRejection } from '../../../common/http/server.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { Permission } from '../access.js';
import { BODY_BYTES_MAX, type Call, METHODS, type OperatorApi, type Route } from '../api.js';
import { routes } from '../routes.js';
import { EventStreams } from './event-stream.js';
import { describeApi } from './openapi.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Name of the caller's token, once it is authorised. */
    actor: string;
  }
}

/** Fastify adds HEAD to GET. */
const ALL_METHODS = ['GET', 'DELETE', 'OPTIONS', 'PATCH', 'POST', 'PUT'];

/** Smaller answers take no time to send. */
const LARGE_CHARS = 8_192;
/** Off the main thread. */
const compress = promisify(gzip);

export function addOperatorRoutes(server: FastifyInstance, api: OperatorApi): void {
  const streams = new EventStreams(api.operations);
  server.addHook('preClose', async () => streams.endAll());
  server.decorateRequest('actor', '');
  const document = describeApi(routes);
  server.get('/v1/openapi.json', () => document);
  rejectOtherMethods(server, '/v1/openapi.json', 'read');
  for (const route of routes) addRoute(server, route, api, streams);
}

function addRoute(
  server: FastifyInstance,
  route: Route,
  api: OperatorApi,
  streams: EventStreams,
): void {
  const [prefix, suffix] = route.path.split(/\{\w+\}/) as [string, string?];
  // A wildcard, because a clientId may contain any encoded character and is not limited in length.
  const url =
    suffix === undefined ? route.path : suffix === '' ? `${prefix}*` : `${prefix}:id${suffix}`;
  server.route({
    method: METHODS[route.permission],
    url,
    bodyLimit: BODY_BYTES_MAX,
    // Rejects before the body is read.
    onRequest: async (request, reply) => {
      const actor = api.access.authorize(request.headers.authorization, route.permission);
      if (typeof actor !== 'string') return reject(request, reply, actor);
      request.actor = actor;
      const rejected =
        METHODS[route.permission] === 'POST' ? rejectContentType(request) : undefined;
      return rejected && reject(request, reply, rejected);
    },
    handler: async (request, reply) => {
      const [path] = request.raw.url!.split('?', 1) as [string];
      const parameter = path.slice(prefix.length, path.length - (suffix ?? '').length);
      const call = readCall(request, route, parameter);
      if (isRejection(call)) return reject(request, reply, call);
      if (route.isLog && acceptsStream(request)) {
        const rejected = streams.reject();
        if (rejected) return reject(request, reply, rejected);
        reply.hijack();
        return streams.open(reply.raw, call.after);
      }
      const response = await route.respond(api, call);
      return isRejection(response) ? reject(request, reply, response) : response;
    },
    onSend: shrink,
  });
  rejectOtherMethods(server, url, route.permission);
}

/**
 * Gives a large answer a tag, does not send it again to a caller that has it, and compresses it for
 * a caller that accepts that.
 */
async function shrink(
  { headers }: FastifyRequest,
  reply: FastifyReply,
  payload: unknown,
): Promise<unknown> {
  if (typeof payload !== 'string' || payload.length < LARGE_CHARS) return payload;
  // Weak, because it belongs to both encodings.
  const etag = `W/"${createHash('sha256').update(payload).digest('hex').slice(0, 32)}"`;
  reply.headers({ etag, 'cache-control': 'private, no-cache', vary: 'accept-encoding' });
  if (headers['if-none-match'] === etag) {
    reply.code(304);
    return '';
  }
  if (!/\bgzip\b/.test(headers['accept-encoding'] ?? '')) return payload;
  reply.header('content-encoding', 'gzip');
  return compress(payload, { level: constants.Z_BEST_SPEED });
}

/**
 * Requires a JSON content type: a page of another origin cannot send it without a CORS preflight,
 * which is rejected.
 */
function rejectContentType({ headers }: FastifyRequest): Rejection | undefined {
  if (/^application\/json[\t ]*(;|$)/i.test(headers['content-type'] ?? '')) return undefined;
  return rejection(
    'REQUEST_MALFORMED',
    'content-type must be application/json; send {} as the body if there is nothing to say',
  );
}

function readCall(request: FastifyRequest, route: Route, parameter: string): Call | Rejection {
  const body = readInput(request, route);
  if (body !== undefined && isRejection(body)) return body;
  const after = route.isLog ? readAfter(request) : 0;
  if (typeof after !== 'number') return after;
  return { parameter, body: body?.parsed, actor: request.actor, after };
}

function readInput({ body, query }: FastifyRequest, route: Route) {
  if (route.body !== undefined) return parseBody(route.body, body);
  if (route.query === undefined) return undefined;
  const empty = Object.entries(query as object).find(([, value]) => value === '');
  // A number would be 0.
  if (empty !== undefined)
    return rejection('REQUEST_MALFORMED', `${empty[0]} is empty; leave it out`);
  return parseBody(route.query, query);
}

/** A reconnect sends its newest event in a header, and repeats the query of the first request. */
function readAfter(request: FastifyRequest): number | Rejection {
  const query = (request.query as Record<string, unknown>).after;
  const after = request.headers['last-event-id'] ?? query ?? '0';
  if (typeof after === 'string' && /^\d{1,15}$/.test(after)) return Number(after);
  return rejection(
    'REQUEST_MALFORMED',
    `after is ${JSON.stringify(after)}; expected the id of an event`,
  );
}

function acceptsStream({ method, headers }: FastifyRequest): boolean {
  return method === 'GET' && (headers.accept ?? '').includes('text/event-stream');
}

function rejectOtherMethods(server: FastifyInstance, url: string, permission: Permission): void {
  const allowed = METHODS[permission] === 'GET' ? 'GET, HEAD' : 'POST';
  server.route({
    method: ALL_METHODS.filter((method) => method !== METHODS[permission]),
    url,
    // Rejects before the body is read.
    onRequest: async (request, reply) => {
      reply.header('allow', allowed);
      const message = `this path does not accept ${request.method}; use ${allowed}`;
      return sendRejection(reply, rejection('METHOD_NOT_ALLOWED', message));
    },
    handler: () => undefined,
  });
}

function reject(request: FastifyRequest, reply: FastifyReply, rejected: Rejection): FastifyReply {
  const leader =
    rejected.code === 'NOT_LEADER' && /https?:\/\/[^\s/,;]+/.exec(rejected.message)?.[0];
  if (leader) reply.header('location', `${leader}${request.url}`);
  return sendRejection(reply, rejected);
}

function isRejection(response: object): response is Rejection {
  return 'code' in response;
}
