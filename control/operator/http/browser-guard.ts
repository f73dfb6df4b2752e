/**
 * What a browser may send to the API. A page of another site can make the operator's browser send
 * requests, so those are rejected by Sec-Fetch-Site or, where a browser does not send it, by
 * Origin. After DNS rebinding that page has control's own origin, but a name of its author's: it
 * has neither a session nor a token, so that matters only where no tokens are configured. There,
 * control answers under names only that no stranger can register.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { hostname } from 'node:os';
import type { FastifyInstance } from 'fastify';
import { sendRejection } from '../../../common/http/server.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { Access } from '../access.js';
import type { Sessions } from './sessions.js';

/** IP addresses, names without a dot, and top-level names that are reserved or of Kubernetes. */
const PRIVATE_HOST =
  /^(\[[\da-f:.]+\]|[\d.]+|[^.]+|.+\.(localhost|local|internal|home\.arpa|test|svc))\.?$/i;
const GUARDED = /^\/(v1\/|session$)/;

/**
 * Also turns a session into the token that it stands for.
 * @param ownUrl URL under which operators reach this control
 */
export function guardBrowsers(
  server: FastifyInstance,
  access: Access,
  sessions: Sessions,
  ownUrl: string | undefined,
): void {
  const ownHosts = [hostname(), ...(ownUrl === undefined ? [] : [new URL(ownUrl).hostname])];
  server.addHook('onRequest', async (request, reply) => {
    // Not the URL: its path may be percent-encoded.
    if (!GUARDED.test(request.routeOptions.url ?? '')) return undefined;
    const { headers } = request;
    const rejected =
      rejectOtherSite(headers) ?? (access.isOpen ? rejectHost(headers.host, ownHosts) : undefined);
    if (rejected !== undefined) return sendRejection(reply, rejected);
    const token = headers.authorization === undefined && sessions.open(headers.cookie);
    if (token) headers.authorization = `Bearer ${token}`;
    return undefined;
  });
}

function rejectOtherSite(headers: IncomingHttpHeaders): Rejection | undefined {
  const site = headers['sec-fetch-site'];
  const isOwn =
    site === undefined ? isOwnOrigin(headers) : site === 'same-origin' || site === 'none';
  if (isOwn) return undefined;
  return rejection('PERMISSION_DENIED', 'a page of another site must not use this API');
}

/**
 * A page can neither set `x-forwarded-host` without a preflight, which is rejected, nor `origin`.
 */
function isOwnOrigin({ origin, host, ...headers }: IncomingHttpHeaders): boolean {
  if (origin === undefined) return true;
  const [, originHost] = /^https?:\/\/(.+)$/.exec(origin) ?? [];
  return originHost !== undefined && [host, headers['x-forwarded-host']].includes(originHost);
}

function rejectHost(host: string | undefined, ownHosts: readonly string[]): Rejection | undefined {
  const name = (host ?? '').replace(/:\d+$/, '');
  if (name === '' || PRIVATE_HOST.test(name) || ownHosts.includes(name)) return undefined;
  return rejection(
    'PERMISSION_DENIED',
    `without tokens, control does not answer as ${JSON.stringify(name)}: a page of that name could ` +
      'steer it; set LONGLINE_CONTROL_OPERATOR_TOKENS, or use its IP address',
  );
}
