/**
 * A control that does not lead knows the assignment, but neither edges nor moves. So it fetches what
 * it is asked for from the leader, and sends whoever wants to change something there. While the
 * leader cannot be reached it answers for itself: what it does not know is null.
 */
import type { FastifyInstance } from 'fastify';
import type { Leader } from '../leadership/leadership.js';

const ANSWER_MS_MAX = 3_000;
/** Two controls that take each other for the leader must not ask each other for ever. */
const FORWARDED = 'longline-forwarded';

/** To be called before the routes are added. */
export function forwardToLeader(server: FastifyInstance, leader: () => Leader): void {
  server.addHook('onRequest', async (request, reply) => {
    const current = leader();
    const isOurs = !request.url.startsWith('/v1/') || request.url === '/v1/openapi.json';
    if (isOurs || current.type !== 'other' || current.control.url === '') return;
    if (request.headers[FORWARDED] !== undefined) return;
    const url = current.control.url + request.url;
    const isStream = request.headers.accept?.includes('text/event-stream') ?? false;
    if (request.method !== 'GET' || isStream) return reply.redirect(url, 307);
    const { authorization } = request.headers;
    const headers = { [FORWARDED]: '1', ...(authorization === undefined ? {} : { authorization }) };
    try {
      const answer = await fetch(url, { headers, signal: AbortSignal.timeout(ANSWER_MS_MAX) });
      const type = answer.headers.get('content-type') ?? 'application/json';
      return reply
        .code(answer.status)
        .header('content-type', type)
        .send(await answer.text());
    } catch {
      // It is gone, or about to be: what is known here is the best there is.
    }
  });
}
