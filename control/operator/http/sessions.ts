/**
 * Sessions of browsers. The page sends a token once; the cookie holds it, encrypted with a key that
 * is made of all configured tokens. So control keeps no state, every control of the cluster accepts
 * the session, also after a restart, and it ends when a token is replaced.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Token } from '../../../common/auth/tokens.js';
import { parseBody } from '../../../common/http/parse-body.js';
import { sendRejection } from '../../../common/http/server.js';
import { unixMs } from '../../../common/process/time/clock.js';
import type { Access, Permission } from '../access.js';
import { BODY_BYTES_MAX } from '../api.js';

export interface SessionResponse {
  /** Name of the caller's token. Null: it has none, or an unknown one. */
  readonly actor: string | null;
  readonly mayWrite: boolean;
  /** It may read the payloads of stored pushes. */
  readonly mayReadPayloads: boolean;
  /** No tokens are configured. */
  readonly isOpen: boolean;
}

const CIPHER = 'aes-256-gcm';
const IV_BYTES = 12;
const TAG_BYTES = 16;
const LIFETIME_S = 12 * 3_600;

const sessionBody = z.strictObject({ token: z.string().max(2_048) });

export class Sessions {
  readonly #key: Buffer;
  /**
   * Cookies do not distinguish ports: those of several clusters on one machine need other names.
   */
  readonly #name: string;

  constructor({ operators, viewers }: { operators: readonly Token[]; viewers: readonly Token[] }) {
    const hashes = [...operators, ...viewers].map(({ sha256 }) => sha256.toString('hex'));
    const key = createHash('sha256').update(`session ${hashes.toSorted().join()}`);
    this.#key = key.digest();
    this.#name = `longline-${createHash('sha256').update(this.#key).digest('hex').slice(0, 8)}`;
  }

  /** Value of `set-cookie`. @param token empty: ends the session */
  cookie(token: string, isSecure: boolean): string {
    const value = token === '' ? '' : this.#seal(token);
    const ageS = token === '' ? 0 : LIFETIME_S;
    // Without a path it is that of the page, also behind a proxy that adds one.
    const secure = isSecure ? '; Secure' : '';
    return `${this.#name}=${value}; Max-Age=${ageS}; HttpOnly; SameSite=Strict${secure}`;
  }

  /** Returns the token of a session. @param cookies value of the header */
  open(cookies: string | undefined): string | undefined {
    const named = cookies?.split('; ').find((cookie) => cookie.startsWith(`${this.#name}=`));
    if (named === undefined) return undefined;
    const bytes = Buffer.from(named.slice(this.#name.length + 1), 'base64url');
    if (bytes.length <= IV_BYTES + TAG_BYTES) return undefined;
    const decipher = createDecipheriv(CIPHER, this.#key, bytes.subarray(0, IV_BYTES));
    decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
    try {
      const body = bytes.subarray(IV_BYTES + TAG_BYTES);
      const text = Buffer.concat([decipher.update(body), decipher.final()]).toString();
      const { token, endsAtMs } = JSON.parse(text);
      return endsAtMs > unixMs() ? token : undefined;
    } catch {
      // A session of another cluster or of other tokens, or a forged one.
      return undefined;
    }
  }

  #seal(token: string): string {
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv(CIPHER, this.#key, iv);
    const text = JSON.stringify({ token, endsAtMs: unixMs() + 1_000 * LIFETIME_S });
    const body = Buffer.concat([cipher.update(text), cipher.final()]);
    return Buffer.concat([iv, cipher.getAuthTag(), body]).toString('base64url');
  }
}

/** `/session`: who the caller is, begin and end of a session. */
export function addSessionRoutes(
  server: FastifyInstance,
  access: Access,
  sessions: Sessions,
): void {
  const describe = (authorization: string | undefined): SessionResponse => {
    const actor = access.authorize(authorization, 'read');
    const may = (permission: Permission) =>
      typeof access.authorize(authorization, permission) === 'string';
    return {
      actor: typeof actor === 'string' ? actor : null,
      mayWrite: may('write'),
      mayReadPayloads: may('payload'),
      isOpen: access.isOpen,
    };
  };
  const setCookie = (request: FastifyRequest, reply: FastifyReply, token: string) =>
    reply.header(
      'set-cookie',
      sessions.cookie(token, !!request.headers.origin?.startsWith('https:')),
    );
  server.addHook('onSend', async (request, reply) => {
    if (request.routeOptions.url === '/session') reply.header('cache-control', 'no-store');
  });
  server.get('/session', ({ headers }) => describe(headers.authorization));
  server.post('/session', { bodyLimit: BODY_BYTES_MAX }, (request, reply) => {
    const body = parseBody(sessionBody, request.body);
    if ('code' in body) return sendRejection(reply, body);
    const authorization = `Bearer ${body.parsed.token}`;
    const actor = access.authorize(authorization, 'read');
    if (typeof actor !== 'string') return sendRejection(reply, actor);
    setCookie(request, reply, body.parsed.token);
    return describe(authorization);
  });
  server.delete('/session', (request, reply) => {
    setCookie(request, reply, '');
    return describe(undefined);
  });
}
