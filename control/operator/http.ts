/** The operator API over HTTP. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Refusal, refusal } from '../../common/process/errors.js';
import { sendRefusal } from '../../common/process/http-server.js';
import { EventStreams } from './event-stream.js';
import { type Call, describeApi, METHODS, type OperatorApi, type Route } from './openapi.js';
import { parseBody } from './requests.js';
import { routes } from './routes.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks, once that is known. */
    who: string;
  }
}

const BODY_BYTES_MAX = 4096;

/** HEAD comes with GET. */
const ALL_METHODS = ['GET', 'DELETE', 'OPTIONS', 'PATCH', 'POST', 'PUT'];

export function addOperatorRoutes(server: FastifyInstance, api: OperatorApi): void {
  const streams = new EventStreams(api.orders);
  server.addHook('preClose', async () => streams.endAll());
  server.decorateRequest('who', '');
  const document = describeApi(routes);
  server.get('/v1/openapi.json', () => document);
  refuseOtherMethods(server, '/v1/openapi.json', 'read');
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
      const who = api.access.admit(request.headers.authorization, route.need);
      if (typeof who !== 'string') return refuse(request, reply, who);
      request.who = who;
      const refused = route.need === 'write' ? refuseContentType(request) : undefined;
      return refused && refuse(request, reply, refused);
    },
    handler: async (request, reply) => {
      const [path] = request.raw.url!.split('?', 1) as [string];
      const parameter = path.slice(prefix.length, path.length - (suffix ?? '').length);
      const call = readCall(request, route, parameter);
      if (isRefusal(call)) return refuse(request, reply, call);
      if (route.isLog && wantsStream(request)) {
        const refused = streams.refuse();
        if (refused) return refuse(request, reply, refused);
        reply.hijack();
        return streams.open(reply.raw, call.after);
      }
      const answer = await route.respond(api, call);
      return isRefusal(answer) ? refuse(request, reply, answer) : answer;
    },
  });
  refuseOtherMethods(server, url, route.need);
}

/**
 * No page in an operator's browser can send this type to where it does not belong without asking
 * first, which is refused.
 */
function refuseContentType({ headers }: FastifyRequest): Refusal | undefined {
  if (/^application\/json\s*(;|$)/i.test(headers['content-type'] ?? '')) return undefined;
  return refusal('REQUEST_MALFORMED', 'expected content-type: application/json, if only with {}');
}

function readCall(request: FastifyRequest, route: Route, parameter: string): Call | Refusal {
  const body = route.body && parseBody(route.body, request.body);
  if (body !== undefined && isRefusal(body)) return body;
  const after = route.isLog ? readAfter(request) : 0;
  if (typeof after !== 'number') return after;
  return { parameter, body: body?.parsed, who: request.who, after };
}

/** A stream that comes back names the newest event in a header; the query is as old as the stream. */
function readAfter(request: FastifyRequest): number | Refusal {
  const query = (request.query as Record<string, unknown>).after;
  const after = request.headers['last-event-id'] ?? query ?? '0';
  if (typeof after === 'string' && /^\d{1,15}$/.test(after)) return Number(after);
  return refusal('REQUEST_MALFORMED', `expected the id of an event, got ${JSON.stringify(after)}`);
}

function wantsStream({ method, headers }: FastifyRequest): boolean {
  return method === 'GET' && (headers.accept ?? '').includes('text/event-stream');
}

function refuseOtherMethods(server: FastifyInstance, url: string, need: Route['need']): void {
  const allowed = need === 'read' ? 'GET, HEAD' : 'POST';
  server.route({
    method: ALL_METHODS.filter((method) => method !== METHODS[need]),
    url,
    // Refused before the body is read, whatever it is.
    onRequest: async (request, reply) => {
      reply.header('allow', allowed);
      const message = `this path has ${allowed}, not ${request.method}`;
      return sendRefusal(reply, refusal('METHOD_NOT_ALLOWED', message));
    },
    handler: () => undefined,
  });
}

function refuse(request: FastifyRequest, reply: FastifyReply, refused: Refusal): FastifyReply {
  const leader = refused.code === 'NOT_LEADER' && /https?:\/\/[^\s/,;]+/.exec(refused.message)?.[0];
  if (leader) reply.header('location', `${leader}${request.url}`);
  return sendRefusal(reply, refused);
}

function isRefusal(answer: object): answer is Refusal {
  return 'code' in answer;
}
