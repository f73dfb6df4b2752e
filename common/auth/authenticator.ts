/**
 * Authenticates devices: synchronously by resume ticket, or by JWT, whose signature is verified
 * asynchronously unless it is an HMAC. Protocols extract the credentials; this code is the same for
 * all of them.
 */
import type { Counter } from 'prom-client';
import { type Rejection, rejection } from '../process/errors.js';
import type { Logger } from '../process/log.js';
import type { Metrics } from '../process/metrics.js';
import { unixMs } from '../process/time/clock.js';
import { ALL_GROUPS, type GroupClaims } from './claims/group-claims.js';
import type { JwtVerifier, TokenProblem, Verification } from './jwt.js';
import { hasTicketFormat, type Tickets } from './ticket.js';

/** Credentials of a connect request. Either field may hold a token or a ticket. */
export interface Credentials {
  readonly token: string | undefined;
  readonly ticket: string | undefined;
}

export const NO_CREDENTIALS: Credentials = { token: undefined, ticket: undefined };

export interface Verified {
  /** Unix ms when the connection ends unless the device sends a newer token; Infinity: never. */
  readonly expiresAtMs: number;
  /** When the token was issued, in Unix ms; 0: it does not say; Infinity: there is no token. */
  readonly issuedAtMs: number;
  /** The labels of the token, as `labelsText` writes them; '': none. */
  readonly labels: string;
  /** The groups that the device may join and leave. */
  readonly groups: GroupClaims;
}

export interface Authenticator {
  /** Milliseconds that a token stays valid after its `exp`. */
  readonly skewMs: number;
  check(
    clientId: string,
    credentials: Credentials,
  ): Verified | Rejection | Promise<Verified | Rejection>;
  /**
   * True when the credentials are known to be valid without verifying a signature: a valid ticket,
   * or a token in the cache. Such clients are returning ones.
   */
  isKnown(clientId: string, credentials: Credentials): boolean;
  /** Returns a ticket for a verified client; undefined when devices are not authenticated. */
  issueTicket(clientId: string, verified: Verified): string | undefined;
}

/** How a device was authenticated. */
type Method = 'ticket' | 'memory' | 'signature';

const FOREVER: Verified = {
  expiresAtMs: Number.POSITIVE_INFINITY,
  issuedAtMs: Number.POSITIVE_INFINITY,
  labels: '',
  groups: ALL_GROUPS,
};

/** LONGLINE_AUTH=none: accepts every client. */
export const acceptAll: Authenticator = {
  skewMs: 0,
  check: () => FOREVER,
  isKnown: () => true,
  issueTicket: () => undefined,
};

type Problem =
  | TokenProblem
  | 'labels'
  | 'groups'
  | 'missing'
  | 'subject'
  | 'ticket'
  | 'ticket_expired'
  | 'bug';

/**
 * Devices send tokens that were just issued. So if one looks expired or not yet valid, one of the
 * two clocks is probably wrong.
 */
const CLOCK = 'the clock of this server; compare it with that of the issuer';

const REJECTIONS: Readonly<Record<Exclude<Problem, 'labels' | 'groups'>, Rejection>> = {
  missing: rejection('UNAUTHENTICATED', 'no credentials were sent; send a JWT or a resume ticket'),
  too_long: rejection('UNAUTHENTICATED', 'the token is longer than 8192 characters'),
  malformed: rejection('UNAUTHENTICATED', 'the token is not a JWT with valid exp and sub'),
  algorithm: rejection('UNAUTHENTICATED', 'the algorithm of the token is not accepted'),
  key: rejection('UNAUTHENTICATED', 'no key in use matches the token'),
  signature: rejection('UNAUTHENTICATED', 'the signature of the token is invalid'),
  expired: rejection('TOKEN_EXPIRED', 'the token has expired; get a new one'),
  not_yet_valid: rejection('UNAUTHENTICATED', `the token is not valid yet by ${CLOCK}`),
  issued_in_future: rejection('UNAUTHENTICATED', `the token was issued in the future by ${CLOCK}`),
  audience: rejection('UNAUTHENTICATED', 'the token is for another audience'),
  issuer: rejection('UNAUTHENTICATED', 'the token is from another issuer'),
  subject: rejection('PERMISSION_DENIED', 'the token is for another clientId or user'),
  ticket: rejection('UNAUTHENTICATED', 'the ticket was not issued to this clientId'),
  ticket_expired: rejection('TOKEN_EXPIRED', 'the ticket has expired; get a new token'),
  no_keys: rejection('NOT_READY', 'no key is available to verify tokens; retry later'),
  overloaded: rejection('OVERLOADED', 'too many tokens are being verified; retry later'),
  bug: rejection('INTERNAL', 'the token could not be verified; see the log'),
};

export class JwtAuthenticator implements Authenticator {
  readonly #rejected: Counter<'reason'>;
  /** By method. Kept here, because a counter of the library takes several times as long. */
  readonly #accepted = { ticket: 0, memory: 0, signature: 0 };

  constructor(
    readonly verifier: JwtVerifier,
    readonly tickets: Tickets,
    readonly log: Logger,
    metrics: Metrics,
    role: 'edge' | 'router',
  ) {
    this.#rejected = metrics.counter(
      `longline_${role}_tokens_rejected_total`,
      'Rejected device tokens and tickets, by reason. Many not_yet_valid, issued_in_future or ' +
        'expired: compare the clocks of the issuer and of this machine',
      ['reason'],
    );
    metrics.totals(
      `longline_${role}_tokens_accepted_total`,
      'Authenticated devices, by method: ticket, memory (of verified tokens) or signature',
      'by',
      () => Object.entries(this.#accepted),
    );
  }

  get skewMs(): number {
    return this.tickets.skewMs;
  }

  check(clientId: string, { token, ticket }: Credentials) {
    const tickets = [ticket, token].filter(
      (credential) => credential !== undefined && hasTicketFormat(credential),
    );
    let problem: keyof typeof REJECTIONS =
      ticket === undefined && token === undefined ? 'missing' : 'ticket';
    for (const credential of tickets) {
      const checked = this.tickets.check(credential!, clientId, unixMs());
      if (typeof checked !== 'string') return this.#accept('ticket', checked);
      problem = checked === 'expired' ? 'ticket_expired' : 'ticket';
    }
    // A device with an invalid ticket may still have a valid token.
    if (token === undefined || tickets.includes(token)) return this.#reject(problem);
    const key = this.verifier.keyOf(token);
    const known = this.verifier.findVerified(token, key);
    if (known !== undefined) return this.#conclude(clientId, known, 'memory');
    const result = this.verifier.verify(token, key);
    if (!(result instanceof Promise)) return this.#conclude(clientId, result, 'signature');
    return result.then(
      (verified) => this.#conclude(clientId, verified, 'signature'),
      (error) => {
        this.log.error({ err: error }, 'token verification failed unexpectedly');
        return this.#reject('bug');
      },
    );
  }

  isKnown(clientId: string, { token, ticket }: Credentials): boolean {
    return [ticket, token].some((credential) => {
      if (credential === undefined) return false;
      if (!hasTicketFormat(credential)) return this.verifier.findVerified(credential) !== undefined;
      return typeof this.tickets.check(credential, clientId, unixMs()) !== 'string';
    });
  }

  issueTicket(clientId: string, { expiresAtMs, issuedAtMs, labels, groups }: Verified): string {
    return this.tickets.issue(clientId, expiresAtMs, labels, groups, issuedAtMs);
  }

  #conclude(clientId: string, result: Verification, by: Method) {
    if (typeof result === 'string') return this.#reject(result);
    if ('code' in result) {
      this.#count(result.code === 'GROUP_INVALID' ? 'groups' : 'labels');
      return result;
    }
    return isSubjectOf(result.clientId, clientId)
      ? this.#accept(by, result)
      : this.#reject('subject');
  }

  #accept(by: Method, { expiresAtMs, issuedAtMs, labels, groups }: Verified): Verified {
    this.#accepted[by]++;
    return { expiresAtMs, issuedAtMs, labels, groups };
  }

  #reject(reason: keyof typeof REJECTIONS): Rejection {
    this.#count(reason);
    return REJECTIONS[reason];
  }

  #count(reason: Problem): void {
    this.#rejected.inc({ reason });
  }
}

/** Whether a token is for this client: its subject is the clientId, or the user of the device. */
function isSubjectOf(subject: string, clientId: string): boolean {
  if (subject === clientId) return true;
  return !subject.includes('/') && clientId.startsWith(`${subject}/`);
}
