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

export class TokenExpiry {
  /** Unix ms. Devices whose token expires before this have been warned, or connected too late. */
  #warnedUntilMs = unixMs() + WARNING_MS;
  /** Connections whose newer token is being verified; one token at a time. */
  readonly #renewing = new Set<Connection>();

  /**
   * @param isRevoked whether an operator has revoked a token of the client that was issued then
   * @param end ends a connection whose token has expired or is revoked
   */
  constructor(
    readonly table: Connections,
    readonly labels: Pick<ConnectionLabels, 'claimsOf' | 'renew'>,
    readonly groups: Pick<DeviceGroups, 'claimsOf' | 'setClaims'>,
    readonly transport: Pick<Transport, 'write'>,
    readonly authenticator: Authenticator,
    readonly isRevoked: (clientId: string, issuedAtMs: number) => boolean,
    readonly end: (connection: Connection, reason: 'expired' | 'revoked') => void,
  ) {}

  register(connection: Connection, verified: Omit<Verified, 'labels'>): void {
    this.table.setExpiry(connection, verified.expiresAtMs);
    this.table.setIssued(connection, verified.issuedAtMs);
    this.groups.setClaims(connection, verified.groups);
  }

  /**
   * Returns a resume ticket that is valid until the token expires; undefined also if the labels of
   * the token are unknown, which it has to repeat.
   */
  ticketOf(connection: Connection): string | undefined {
    const labels = this.labels.claimsOf(connection);
    if (labels === undefined) return undefined;
    const expiresAtMs = this.table.expiresAtMs(connection);
    const issuedAtMs = this.table.issuedAtMs(connection);
    const groups = this.groups.claimsOf(connection);
    const verified = { expiresAtMs, issuedAtMs, labels, groups };
    return this.authenticator.issueTicket(this.table.clientIdOf(connection), verified);
  }

  /** Replaces the token by a newer token or a ticket; an invalid one ends the connection. */
  renew(connection: Connection, token: string): void {
    if (this.#renewing.has(connection)) return this.end(connection, 'expired');
    const clientId = this.table.clientIdOf(connection);
    const checking = this.authenticator.check(clientId, { token, ticket: undefined });
    if (!(checking instanceof Promise)) return this.#onChecked(connection, checking);
    this.#renewing.add(connection);
    void checking.then((checked) => {
      this.#renewing.delete(connection);
      if (this.table.has(connection)) this.#onChecked(connection, checked);
    });
  }

  /**
   * Ends and warns. To be called about once a second.
   * @param nowMs Unix time in milliseconds
   */
  sweep(nowMs: number): void {
    const { table } = this;
    for (const connection of [...table.expiringBy(nowMs - this.authenticator.skewMs)]) {
      this.end(connection, 'expired');
    }
    const warnUntilMs = nowMs + WARNING_MS;
    for (const connection of table.expiringBy(warnUntilMs)) {
      const expiresAtMs = table.expiresAtMs(connection);
      // Expiries are whole seconds: a device is warned in the sweep that reaches its second.
      if (expiresAtMs <= this.#warnedUntilMs) continue;
      const protocol = table.protocolOf(connection);
      const bytes = protocol.encodeTokenExpiring?.(connection, expiresAtMs - nowMs);
      if (bytes !== undefined) this.transport.write(connection, bytes);
    }
    // After the clock was set back, this is earlier than before: devices are warned again in time.
    this.#warnedUntilMs = Math.floor(warnUntilMs / 1_000) * 1_000;
  }

  #onChecked(connection: Connection, checked: Verified | Rejection): void {
    if ('code' in checked) return this.end(connection, 'expired');
    const clientId = this.table.clientIdOf(connection);
    if (this.isRevoked(clientId, checked.issuedAtMs)) return this.end(connection, 'revoked');
    this.register(connection, checked);
    this.labels.renew(connection, checked.labels);
    const ticket = this.ticketOf(connection);
    if (ticket === undefined) return;
    const bytes = this.table.protocolOf(connection).encodeTicket?.(connection, ticket);
    if (bytes !== undefined) this.transport.write(connection, bytes);
  }
}
