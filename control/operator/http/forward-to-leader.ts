/**
 * Requests at a control that does not lead. It has the assignment and the event log, but neither
 * edges nor moves, and it must not change anything. So it passes requests on to the leader, and the
 * caller may use any control, also through a load balancer in front of several.
 *
 * The request carries the caller's token, so it goes only to the URL that the leader has written
 * into the lock in Redis, in one step: a control that receives a forwarded request answers it. A
 * read that the leader does not answer is answered here, with null for what is unknown.
 */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { sendRejection } from '../../../common/http/server.js';
import { request as httpRequest } from '../../../common/net/node-http.js';
import { rejection } from '../../../common/process/errors.js';
import type { ControlIdentity, Leader } from '../../leadership/leadership.js';
import { BODY_BYTES_MAX } from '../api.js';

const READ_TIMEOUT_MS = 3_000;
/** Below the time for which `longline` waits. */
const WRITE_TIMEOUT_MS = 6_000;
/** Marks a forwarded request: two controls that take each other for the leader must not loop. */
const FORWARDED = 'longline-forwarded';
const REQUEST_HEADERS = [
  ...['accept', 'accept-encoding', 'authorization', 'content-length', 'content-type'],
  'if-none-match',
];
const RESPONSE_HEADERS = [
  ...['allow', 'cache-control', 'content-encoding', 'content-length', 'content-type', 'etag'],
  ...['vary', 'www-authenticate'],
];
/** Errors of a connection that was never established, so that nothing was sent. */
const NOT_CONNECTED = ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN'];

/** Must be called before the routes are added. */
export function forwardToLeader(server: FastifyInstance, leader: () => Leader): void {
  server.addHook('onRequest', async (request, reply) => {
    const current = leader();
    if (current.type !== 'other' || current.control.url === '' || isLocal(request)) return;
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    try {
      const response = await send(request, current.control.url, isRead);
      reply.code(response.statusCode!);
      for (const name of RESPONSE_HEADERS) {
        const value = response.headers[name];
        if (value !== undefined) reply.header(name, value);
      }
      return reply.send(response);
    } catch (error) {
      // The local answer to a read is the best one available.
      return isRead ? undefined : rejectWrite(reply, current.control, error as Error);
    }
  });
}

function isLocal({ method, url, headers }: FastifyRequest): boolean {
  if (!url.startsWith('/v1/') || url === '/v1/openapi.json') return true;
  if (headers[FORWARDED] !== undefined) return true;
  // The route rejects it. Rejected by the leader, its rest would stay unread here.
  if (Number(headers['content-length'] ?? 0) > BODY_BYTES_MAX) return true;
  // Every control has the event log, and here the stream outlives the leader.
  const isLog = method === 'GET' && /^\/v1\/events(\?|$)/.test(url);
  return isLog && (headers.accept?.includes('text/event-stream') ?? false);
}

/** Not with `fetch`, which normalises paths and follows redirects. */
async function send(
  { method, url, headers, raw }: FastifyRequest,
  leaderUrl: string,
  isRead: boolean,
): Promise<IncomingMessage> {
  const forwarded: Record<string, string | string[]> = { [FORWARDED]: '1' };
  for (const name of REQUEST_HEADERS) {
    const value = headers[name];
    if (value !== undefined) forwarded[name] = value;
  }
  const request = leaderUrl.startsWith('https:') ? httpsRequest : httpRequest;
  const call = request(leaderUrl, { method, path: url, headers: forwarded, agent: false });
  const timeoutMs = isRead ? READ_TIMEOUT_MS : WRITE_TIMEOUT_MS;
  const timer = setTimeout(
    () => call.destroy(new Error(`no answer within ${timeoutMs} ms`)),
    timeoutMs,
  );
  // Errors after the head are reported by the response.
  call.on('error', () => {});
  if (isRead) call.end();
  else raw.pipe(call);
  try {
    const [response] = (await once(call, 'response')) as [IncomingMessage];
    return response;
  } finally {
    clearTimeout(timer);
  }
}

function rejectWrite(
  reply: FastifyReply,
  { id, url }: ControlIdentity,
  error: NodeJS.ErrnoException,
): FastifyReply {
  const wasSent = !NOT_CONNECTED.includes(error.code ?? '');
  const advice = wasSent
    ? 'it may have carried out the request; see the event log before a retry'
    : 'nothing was done; retry in some seconds';
  const reason = error.code ?? error.message;
  const message = `${id} at ${url} leads and cannot be reached (${reason}): ${advice}`;
  return sendRejection(reply, rejection('NOT_LEADER', message));
}
