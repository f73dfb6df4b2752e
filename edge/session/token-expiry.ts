/**
 * Until when each connection is known to be who it says. When its token ends, and the clock skew has
 * passed, the connection does, too, unless the device has shown a newer token meanwhile; a minute
 * before, it is told. All that is kept of this per connection is four bytes in the table.
 */
import type { Authenticator, Verified } from '../../common/auth/authenticator.js';
import type { Rejection } from '../../common/process/errors.js';
import type { Connection, Transport } from '../../common/transport/transport.js';
import type { Connections } from './connections.js';

const NOTICE_MS = 60_000;

export class TokenExpiry {
  /** Everybody whose token ends before this was told so, or came after it. */
  #toldUntilMs = Date.now() + NOTICE_MS;
  /** Whose newer token is being verified; one at a time of each. */
  readonly #renewing = new Set<Connection>();

  /** @param end ends a connection whose token has ended */
  constructor(
    readonly table: Connections,
    readonly transport: Pick<Transport, 'write'>,
    readonly authenticator: Authenticator,
    readonly end: (connection: Connection) => void,
  ) {}

  register(connection: Connection, { expiresAtMs }: Verified): void {
    this.table.expireAt(connection, expiresAtMs);
  }

  /** With which the device of a connection may come back, until its token ends. */
  ticketOf(connection: Connection): string | undefined {
    const expiresAtMs = this.table.expiresAtMs(connection);
    return this.authenticator.issueTicket(this.table.clientIdOf(connection), { expiresAtMs });
  }

  /** The device shows a newer token, or a ticket; whoever shows a bad one is not trusted any more. */
  renew(connection: Connection, token: string): void {
    if (this.#renewing.has(connection)) return this.end(connection);
    const clientId = this.table.clientIdOf(connection);
    const checking = this.authenticator.check(clientId, { token, ticket: undefined });
    if (!(checking instanceof Promise)) return this.#onRenewed(connection, checking);
    this.#renewing.add(connection);
    void checking.then((checked) => {
      this.#renewing.delete(connection);
      if (this.table.holds(connection)) this.#onRenewed(connection, checked);
    });
  }

  /** To be called about once a second. */
  sweep(nowMs: number): void {
    const { table } = this;
    for (const connection of [...table.expiringBy(nowMs - this.authenticator.skewMs)]) {
      this.end(connection);
    }
    const tellUntilMs = nowMs + NOTICE_MS;
    for (const connection of table.expiringBy(tellUntilMs)) {
      const expiresAtMs = table.expiresAtMs(connection);
      // Seconds are what is kept: a device is told in the sweep that enters its second.
      if (expiresAtMs <= this.#toldUntilMs) continue;
      const bytes = table.protocolOf(connection).expiring?.(connection, expiresAtMs - nowMs);
      if (bytes !== undefined) this.transport.write(connection, bytes);
    }
    this.#toldUntilMs = Math.max(this.#toldUntilMs, Math.floor(tellUntilMs / 1_000) * 1_000);
  }

  #onRenewed(connection: Connection, checked: Verified | Rejection): void {
    if ('code' in checked) return this.end(connection);
    this.register(connection, checked);
    const ticket = this.ticketOf(connection);
    if (ticket === undefined) return;
    const bytes = this.table.protocolOf(connection).ticket?.(connection, ticket);
    if (bytes !== undefined) this.transport.write(connection, bytes);
  }
}
