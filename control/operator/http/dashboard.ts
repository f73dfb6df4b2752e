/**
 * The dashboard: static files, built from `control/dashboard` at set-up, and what a browser needs.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { FastifyInstance } from 'fastify';
import { sendRejection } from '../../../common/http/server.js';
import { rejection } from '../../../common/process/errors.js';
import { packageRoot } from '../../../common/process/package-root.js';
import type { Access } from '../access.js';
import { guardBrowsers } from './browser-guard.js';
import { addSessionRoutes, Sessions } from './sessions.js';

const FOLDER = join(packageRoot, 'dist/control/dashboard');
const FILES = [
  ['/', 'index.html', 'text/html; charset=utf-8'],
  ['/dashboard.js', 'dashboard.js', 'text/javascript; charset=utf-8'],
  ['/dashboard.css', 'dashboard.css', 'text/css; charset=utf-8'],
] as const;

const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  // The browser asks each time, so that a new control brings its own page.
  'cache-control': 'no-cache',
  vary: 'accept-encoding',
};

/**
 * Must be called before requests are forwarded and before the routes of the API are added.
 * @param ownUrl URL under which operators reach this control
 */
export function addDashboard(
  server: FastifyInstance,
  access: Access,
  ownUrl: string | undefined,
): void {
  const sessions = new Sessions(access);
  guardBrowsers(server, access, sessions, ownUrl);
  addSessionRoutes(server, access, sessions);
  addFiles(server);
}

function addFiles(server: FastifyInstance): void {
  for (const [url, name, type] of FILES) {
    const file = join(FOLDER, name);
    const content = existsSync(file) ? readFileSync(file) : undefined;
    const compressed = content && gzipSync(content);
    const etag = content && `"${createHash('sha256').update(content).digest('hex').slice(0, 32)}"`;
    server.get(url, ({ headers }, reply) => {
      if (content === undefined) {
        const message = 'the dashboard is not built; run `npm run build`';
        return sendRejection(reply, rejection('NOT_FOUND', message));
      }
      reply.headers({ ...HEADERS, etag, 'content-type': type });
      // A proxy that compresses makes the tag a weak one.
      if (headers['if-none-match']?.replace(/^W\//, '') === etag) return reply.code(304).send();
      if (!/\bgzip\b/.test(headers['accept-encoding'] ?? '')) return reply.send(content);
      return reply.header('content-encoding', 'gzip').send(compressed);
    });
  }
}
