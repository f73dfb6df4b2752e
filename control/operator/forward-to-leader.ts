/**
 * Requests at a control that does not lead. It has the assignment, but neither edges nor moves: it
 * fetches GET requests from the leader and redirects all others there. While the leader cannot be
 * reached it answers itself, with null for what it does not know.
 */
import type { FastifyInstance } from 'fastify';
import type { Leader } from '../leadership/leadership.js';

const TIMEOUT_MS = 3_000;
/** Marks a forwarded request: two controls that take each other for the leader must not loop. */
const FORWARDED = 'longline-forwarded';

/** Must be called before the routes are added. */
export function forwardToLeader(server: FastifyInstance, leader: () => Leader): void {
  server.addHook('onRequest', async (request, reply) => {
    const current = leader();
    const isLocal = !request.url.startsWith('/v1/') || request.url === '/v1/openapi.json';
    if (isLocal || current.type !== 'other' || current.control.url === '') return;
    if (request.headers[FORWARDED] !== undefined) return;
    const url = current.control.url + request.url;
    const isStream = request.headers.accept?.includes('text/event-stream') ?? false;
    if (request.method !== 'GET' || isStream) return reply.redirect(url, 307);
    const { authorization } = request.headers;
    const headers = { [FORWARDED]: '1', ...(authorization === undefined ? {} : { authorization }) };
    try {
      const response = await fetch(url, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
      const type = response.headers.get('content-type') ?? 'application/json';
      return reply
        .code(response.status)
        .header('content-type', type)
        .send(await response.text());
    } catch {
      // The leader is unreachable: the local answer is the best one available.
    }
  });
}
