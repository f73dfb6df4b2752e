/**
 * Authenticates a device: by its client certificate, else by the ticket that a front proxy has
 * issued for it, else by its own token or ticket.
 */
import {
  type Authenticator,
  acceptAll,
  type Credentials,
  type Verified,
} from '../../common/auth/authenticator.js';
import { checkDeviceCertificate } from '../../common/auth/certificates.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { TlsFiles } from '../../common/transport/tls-identity.js';
import type { ConnectRequest } from '../protocol/protocol.js';
import type { Pending } from './pending.js';

const NO_CERTIFICATE = rejection('UNAUTHENTICATED', 'this edge requires a client certificate');

export class DeviceAuthentication {
  constructor(
    readonly authenticator: Authenticator,
    /** Where certificates are required, only a front proxy may have devices without one. */
    readonly tls: TlsFiles | undefined,
  ) {}

  /** See `Authenticator.isKnown`. */
  isKnown(pending: Pending, { query, credentials }: ConnectRequest): boolean {
    if (pending.certificate !== undefined) return true;
    return this.authenticator.isKnown(query.clientId, credentialsOf(pending, credentials));
  }

  check(
    pending: Pending,
    { query, credentials }: ConnectRequest,
  ): Verified | Rejection | Promise<Verified | Rejection> {
    const { certificate, frontedUnder } = pending;
    if (certificate !== undefined) return checkDeviceCertificate(certificate, query.clientId);
    // Without tokens, an edge cannot tell that a front proxy has seen a certificate.
    const isUnproven = frontedUnder === undefined || this.authenticator === acceptAll;
    if (this.tls?.clients?.isRequired && isUnproven) return NO_CERTIFICATE;
    return this.authenticator.check(query.clientId, credentialsOf(pending, credentials));
  }
}

function credentialsOf({ frontTicket }: Pending, credentials: Credentials): Credentials {
  return frontTicket === undefined ? credentials : { ...credentials, ticket: frontTicket };
}
