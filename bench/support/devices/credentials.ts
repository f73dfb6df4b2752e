/** Credentials of devices: resume tickets, and tokens of each algorithm. */
import { exportSPKI, generateKeyPair, SignJWT } from 'jose';
import { Tickets } from '../../../common/auth/ticket.js';

export const CREDENTIAL_NAMES = ['none', 'ticket', 'HS256', 'RS256', 'ES256', 'EdDSA'] as const;
export type CredentialName = (typeof CREDENTIAL_NAMES)[number];

export interface CredentialIssuer {
  /** Settings of an edge that accepts the credentials. */
  readonly env: NodeJS.ProcessEnv;
  /**
   * Query parameter that authenticates the client, with its leading `&`; '' without credentials.
   */
  issue(clientId: string): Promise<string>;
}

const SECRET = 'a secret that only the cluster of this bench uses';
const HOUR_MS = 3_600_000;

export async function credentialIssuer(name: CredentialName): Promise<CredentialIssuer> {
  if (name === 'none') return { env: { LONGLINE_AUTH: 'none' }, issue: async () => '' };
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
      issue: async (clientId) => `&ticket=${tickets.issue(clientId, expiresAtMs)}`,
    };
  }
  const pair = name === 'HS256' ? undefined : await generateKeyPair(name);
  const key = pair?.privateKey ?? new TextEncoder().encode(SECRET);
  return {
    env: { ...env, LONGLINE_JWT_KEYS: pair ? await exportSPKI(pair.publicKey) : SECRET },
    async issue(clientId) {
      const token = new SignJWT({ sub: clientId, exp: Math.floor(expiresAtMs / 1_000) });
      return `&token=${await token.setProtectedHeader({ alg: name }).sign(key)}`;
    },
  };
}
