/**
 * Whether a device is who it says: by the ticket that it was given, at once, or by its token, which
 * may take a while. One question for every protocol; where what was shown came from is theirs to know.
 */
import type { Counter } from 'prom-client';
import { type Rejection, rejection } from '../process/errors.js';
import type { Logger } from '../process/log.js';
import type { Metrics } from '../process/metrics.js';
import type { JwtVerifier, TokenProblem } from './jwt.js';
import { looksLikeTicket, type Tickets } from './ticket.js';
import type { VerifiedToken } from './verified-cache.js';

/** What a device shows. Either may be a token or a ticket; what it is called decides nothing. */
export interface Credentials {
  readonly token: string | undefined;
  readonly ticket: string | undefined;
}

export const NO_CREDENTIALS: Credentials = { token: undefined, ticket: undefined };

export interface Verified {
  /** When the connection has to end unless the device shows a newer token; Infinity: never. */
  readonly expiresAtMs: number;
}

export interface Authenticator {
  /** How long after its time a token still counts. */
  readonly skewMs: number;
  check(
    clientId: string,
    credentials: Credentials,
  ): Verified | Rejection | Promise<Verified | Rejection>;
  /** Whether it is surely somebody who was here before, as far as that is known without effort. */
  knows(clientId: string, credentials: Credentials): boolean;
  /** A ticket for who was verified; undefined where nobody needs one. */
  issueTicket(clientId: string, verified: Verified): string | undefined;
}

const FOREVER: Verified = { expiresAtMs: Number.POSITIVE_INFINITY };

/** LONGLINE_AUTH=none: everybody is who they say. */
export const everybody: Authenticator = {
  skewMs: 0,
  check: () => FOREVER,
  knows: () => true,
  issueTicket: () => undefined,
};

type Problem = TokenProblem | 'missing' | 'subject' | 'ticket' | 'ticket_expired' | 'bug';

const REFUSALS: Readonly<Record<Problem, Rejection>> = {
  missing: rejection('UNAUTHENTICATED', 'a token is needed'),
  too_long: rejection('UNAUTHENTICATED', 'the token is over 8 KiB'),
  malformed: rejection('UNAUTHENTICATED', 'the token is not a JWT with valid exp and sub'),
  algorithm: rejection('UNAUTHENTICATED', 'tokens of this algorithm are not accepted'),
  key: rejection('UNAUTHENTICATED', 'no key that is in force has signed the token'),
  signature: rejection('UNAUTHENTICATED', 'the signature of the token is wrong'),
  expired: rejection('TOKEN_EXPIRED', 'the token has expired; get a new one'),
  not_yet_valid: rejection('UNAUTHENTICATED', 'the token is not valid yet'),
  audience: rejection('UNAUTHENTICATED', 'the token is for another audience'),
  issuer: rejection('UNAUTHENTICATED', 'the token is from another issuer'),
  subject: rejection('PERMISSION_DENIED', 'the token is for another clientId'),
  ticket: rejection('UNAUTHENTICATED', 'the ticket was not given to this clientId'),
  ticket_expired: rejection('TOKEN_EXPIRED', 'the ticket has expired; get a new token'),
  no_keys: rejection('NOT_READY', 'no key is known to verify tokens with; try again'),
  overloaded: rejection('OVERLOADED', 'too many tokens are being verified; try again'),
  bug: rejection('INTERNAL', 'the token could not be verified; the log says more'),
};

export class JwtAuthenticator implements Authenticator {
  readonly #rejected: Counter<'reason'>;
  readonly #accepted: Counter<'by'>;

  constructor(
    readonly verifier: JwtVerifier,
    readonly tickets: Tickets,
    readonly log: Logger,
    metrics: Metrics,
    role: 'edge' | 'router',
  ) {
    this.#rejected = metrics.counter(
      `longline_${role}_tokens_rejected_total`,
      'Tokens and tickets of devices that were rejected, by reason.',
      ['reason'],
    );
    this.#accepted = metrics.counter(
      `longline_${role}_tokens_accepted_total`,
      'Devices that were found to be who they say, by how that was found.',
      ['by'],
    );
  }

  get skewMs(): number {
    return this.tickets.skewMs;
  }

  check(clientId: string, { token, ticket }: Credentials) {
    const tickets = [ticket, token].filter(
      (shown) => shown !== undefined && looksLikeTicket(shown),
    );
    let problem: Problem = ticket === undefined && token === undefined ? 'missing' : 'ticket';
    for (const shown of tickets) {
      const checked = this.tickets.check(shown!, clientId, Date.now());
      if (typeof checked !== 'string') return this.#accept('ticket', checked);
      problem = checked === 'expired' ? 'ticket_expired' : 'ticket';
    }
    // A device whose ticket is not good any more may have a token that is.
    if (token === undefined || tickets.includes(token)) return this.#reject(problem);
    const result = this.verifier.verify(token);
    if (!(result instanceof Promise)) return this.#conclude(clientId, result, 'memory');
    return result.then(
      (slow) => this.#conclude(clientId, slow, 'signature'),
      (error) => {
        this.log.error({ err: error }, 'verifying a token failed unexpectedly');
        return this.#reject('bug');
      },
    );
  }

  knows(clientId: string, { token, ticket }: Credentials): boolean {
    return [ticket, token].some((shown) => {
      if (shown === undefined) return false;
      if (!looksLikeTicket(shown)) return this.verifier.remembers(shown);
      return typeof this.tickets.check(shown, clientId, Date.now()) !== 'string';
    });
  }

  issueTicket(clientId: string, { expiresAtMs }: Verified): string {
    return this.tickets.issue(clientId, expiresAtMs);
  }

  #conclude(clientId: string, result: VerifiedToken | TokenProblem, by: string) {
    if (typeof result === 'string') return this.#reject(result);
    return result.clientId === clientId ? this.#accept(by, result) : this.#reject('subject');
  }

  #accept(by: string, { expiresAtMs }: Verified): Verified {
    this.#accepted.inc({ by });
    return { expiresAtMs };
  }

  #reject(reason: Problem): Rejection {
    this.#rejected.inc({ reason });
    return REFUSALS[reason];
  }
}
