/** The operator API over HTTP. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { sendRejection } from '../../common/process/http-server.js';
import { EventStreams } from './event-stream.js';
import { type Call, describeApi, METHODS, type OperatorApi, type Route } from './openapi.js';
import { parseBody } from './requests.js';
import { routes } from './routes.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks, once that is known. */
    actor: string;
  }
}

const BODY_BYTES_MAX = 4096;

/** HEAD comes with GET. */
const ALL_METHODS = ['GET', 'DELETE', 'OPTIONS', 'PATCH', 'POST', 'PUT'];

export function addOperatorRoutes(server: FastifyInstance, api: OperatorApi): void {
  const streams = new EventStreams(api.orders);
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
  // A wildcard, because a clientId may have any length and any encoded character in it.
  const url =
    suffix === undefined ? route.path : suffix === '' ? `${prefix}*` : `${prefix}:id${suffix}`;
  server.route({
    method: METHODS[route.need],
    url,
    bodyLimit: BODY_BYTES_MAX,
    // Before the body is read.
    onRequest: async (request, reply) => {
      const actor = api.access.admit(request.headers.authorization, route.need);
      if (typeof actor !== 'string') return reject(request, reply, actor);
      request.actor = actor;
      const rejected = route.need === 'write' ? rejectContentType(request) : undefined;
      return rejected && reject(request, reply, rejected);
    },
    handler: async (request, reply) => {
      const [path] = request.raw.url!.split('?', 1) as [string];
      const parameter = path.slice(prefix.length, path.length - (suffix ?? '').length);
      const call = readCall(request, route, parameter);
      if (isRejection(call)) return reject(request, reply, call);
      if (route.isLog && wantsStream(request)) {
        const rejected = streams.reject();
        if (rejected) return reject(request, reply, rejected);
        reply.hijack();
        return streams.open(reply.raw, call.after);
      }
      const answer = await route.respond(api, call);
      return isRejection(answer) ? reject(request, reply, answer) : answer;
    },
  });
  rejectOtherMethods(server, url, route.need);
}

/**
 * No page in an operator's browser can send this type to where it does not belong without asking
 * first, which is rejected.
 */
function rejectContentType({ headers }: FastifyRequest): Rejection | undefined {
  if (/^application\/json\s*(;|$)/i.test(headers['content-type'] ?? '')) return undefined;
  return rejection('REQUEST_MALFORMED', 'expected content-type: application/json, if only with {}');
}

function readCall(request: FastifyRequest, route: Route, parameter: string): Call | Rejection {
  const body = route.body && parseBody(route.body, request.body);
  if (body !== undefined && isRejection(body)) return body;
  const after = route.isLog ? readAfter(request) : 0;
  if (typeof after !== 'number') return after;
  return { parameter, body: body?.parsed, actor: request.actor, after };
}

/** A stream that comes back names the newest event in a header; the query is as old as the stream. */
function readAfter(request: FastifyRequest): number | Rejection {
  const query = (request.query as Record<string, unknown>).after;
  const after = request.headers['last-event-id'] ?? query ?? '0';
  if (typeof after === 'string' && /^\d{1,15}$/.test(after)) return Number(after);
  return rejection(
    'REQUEST_MALFORMED',
    `expected the id of an event, got ${JSON.stringify(after)}`,
  );
}

function wantsStream({ method, headers }: FastifyRequest): boolean {
  return method === 'GET' && (headers.accept ?? '').includes('text/event-stream');
}

function rejectOtherMethods(server: FastifyInstance, url: string, need: Route['need']): void {
  const allowed = need === 'read' ? 'GET, HEAD' : 'POST';
  server.route({
    method: ALL_METHODS.filter((method) => method !== METHODS[need]),
    url,
    // Rejected before the body is read, whatever it is.
    onRequest: async (request, reply) => {
      reply.header('allow', allowed);
      const message = `this path has ${allowed}, not ${request.method}`;
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

function isRejection(answer: object): answer is Rejection {
  return 'code' in answer;
}
