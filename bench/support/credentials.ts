/** What devices of benches show, where an edge wants to know who they are. */
import { exportSPKI, generateKeyPair, SignJWT } from 'jose';
import { Tickets } from '../../common/auth/ticket.js';

export const CREDENTIAL_NAMES = ['none', 'ticket', 'HS256', 'RS256', 'ES256', 'EdDSA'] as const;
export type CredentialName = (typeof CREDENTIAL_NAMES)[number];

export interface Shown {
  /** Settings of the edge. */
  readonly env: NodeJS.ProcessEnv;
  /** What a client adds to its query. */
  show(clientId: string): Promise<string>;
}

const SECRET = 'the secret of a cluster that is gone in a minute';
const HOUR_MS = 3_600_000;

export async function credentialsOf(name: CredentialName): Promise<Shown> {
  if (name === 'none') return { env: { LONGLINE_AUTH: 'none' }, show: async () => '' };
  const expiresAtMs = Date.now() + HOUR_MS;
  const algorithm = name === 'ticket' ? 'HS256' : name;
  const env = {
    LONGLINE_AUTH: 'jwt',
    LONGLINE_JWT_ALGORITHMS: algorithm,
    LONGLINE_TICKET_SECRET: SECRET.replaceAll(' ', '-'),
    LONGLINE_LINK_TOKEN: 'link-token-of-a-bench',
  };
  if (name === 'ticket') {
    const tickets = new Tickets([env.LONGLINE_TICKET_SECRET], 0);
    return {
      env: { ...env, LONGLINE_JWT_KEYS: SECRET },
      show: async (clientId) => `&ticket=${tickets.issue(clientId, expiresAtMs)}`,
    };
  }
  const isSecret = name === 'HS256';
  const pair = isSecret ? undefined : await generateKeyPair(name);
  const key = pair?.privateKey ?? new TextEncoder().encode(SECRET);
  return {
    env: { ...env, LONGLINE_JWT_KEYS: pair ? await exportSPKI(pair.publicKey) : SECRET },
    async show(clientId) {
      const token = new SignJWT({ sub: clientId, exp: Math.floor(expiresAtMs / 1_000) });
      return `&token=${await token.setProtectedHeader({ alg: name }).sign(key)}`;
    },
  };
}
