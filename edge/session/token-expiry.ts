/**
 * Ends connections whose token has expired, after the clock skew, unless the device has sent a
 * newer token; a minute before, the device receives a warning. The state per connection is eight
 * bytes in the connection table: expiry, and when the token was issued.
 */
import type { Authenticator, Verified } from '../../common/auth/authenticator.js';
import type { Rejection } from '../../common/process/errors.js';
import { unixMs } from '../../common/process/time/clock.js';
import type { Connection, Transport } from '../../common/transport/transport.js';
import type { ConnectionLabels } from './connection-labels.js';
import type { Connections } from './connections.js';
import type { DeviceGroups } from './device-groups.js';

const WARNING_MS = 60_000;

export interface TokenExpiryOptions {
  readonly table: Connections;
  readonly labels: Pick<ConnectionLabels, 'claimsOf' | 'renew'>;
  readonly groups: Pick<DeviceGroups, 'claimsOf' | 'setClaims'>;
  readonly transport: Pick<Transport, 'write'>;
  readonly authenticator: Authenticator;
  /** Whether an operator has revoked a token of the client that was issued then. */
  readonly isRevoked: (clientId: string, issuedAtMs: number) => boolean;
  /** Ends a connection whose token has expired or is revoked. */
  readonly end: (connection: Connection, reason: 'expired' | 'revoked') => void;
}

export class TokenExpiry {
  /** Unix ms. Devices whose token expires before this have been warned, or connected too late. */
  #warnedUntilMs = unixMs() + WARNING_MS;
  /** Connections whose newer token is being verified; one token at a time. */
  readonly #renewing = new Set<Connection>();

  constructor(readonly options: TokenExpiryOptions) {}

  register(connection: Connection, verified: Omit<Verified, 'labels'>): void {
    const { table, groups } = this.options;
    table.setExpiry(connection, verified.expiresAtMs);
    table.setIssued(connection, verified.issuedAtMs);
    groups.setClaims(connection, verified.groups);
  }

  /**
   * Returns a resume ticket that is valid until the token expires; undefined also if the labels of
   * the token are unknown, which it has to repeat.
   */
  ticketOf(connection: Connection): string | undefined {
    const { table, authenticator } = this.options;
    const labels = this.options.labels.claimsOf(connection);
    if (labels === undefined) return undefined;
    const expiresAtMs = table.expiresAtMs(connection);
    const issuedAtMs = table.issuedAtMs(connection);
    const groups = this.options.groups.claimsOf(connection);
    const verified = { expiresAtMs, issuedAtMs, labels, groups };
    return authenticator.issueTicket(table.clientIdOf(connection), verified);
  }

  /** Replaces the token by a newer token or a ticket; an invalid one ends the connection. */
  renew(connection: Connection, token: string): void {
    const { table, authenticator, end } = this.options;
    if (this.#renewing.has(connection)) return end(connection, 'expired');
    const clientId = table.clientIdOf(connection);
    const checking = authenticator.check(clientId, { token, ticket: undefined });
    if (!(checking instanceof Promise)) return this.#onChecked(connection, checking);
    this.#renewing.add(connection);
    void checking.then((checked) => {
      this.#renewing.delete(connection);
      if (table.has(connection)) this.#onChecked(connection, checked);
    });
  }

  /**
   * Ends and warns. To be called about once a second.
   * @param nowMs Unix time in milliseconds
   */
  sweep(nowMs: number): void {
    const { table, transport, authenticator, end } = this.options;
    for (const connection of [...table.expiringBy(nowMs - authenticator.skewMs)]) {
      end(connection, 'expired');
    }
    const warnUntilMs = nowMs + WARNING_MS;
    for (const connection of table.expiringBy(warnUntilMs)) {
      const expiresAtMs = table.expiresAtMs(connection);
      // Expiries are whole seconds: a device is warned in the sweep that reaches its second.
      if (expiresAtMs <= this.#warnedUntilMs) continue;
      const protocol = table.protocolOf(connection);
      const bytes = protocol.encodeTokenExpiring?.(connection, expiresAtMs - nowMs);
      if (bytes !== undefined) transport.write(connection, bytes);
    }
    // After the clock was set back, this is earlier than before: devices are warned again in time.
    this.#warnedUntilMs = Math.floor(warnUntilMs / 1_000) * 1_000;
  }

  #onChecked(connection: Connection, checked: Verified | Rejection): void {
    const { table, labels, transport, isRevoked, end } = this.options;
    if ('code' in checked) return end(connection, 'expired');
    const clientId = table.clientIdOf(connection);
    if (isRevoked(clientId, checked.issuedAtMs)) return end(connection, 'revoked');
    this.register(connection, checked);
    labels.renew(connection, checked.labels);
    const ticket = this.ticketOf(connection);
    if (ticket === undefined) return;
    const bytes = table.protocolOf(connection).encodeTicket?.(connection, ticket);
    if (bytes !== undefined) transport.write(connection, bytes);
  }
}
