/**
 * Two connections of one clientId: the newer wins, cluster-wide, and no clock decides.
 *
 * Every new connection is announced on its shard's channel. Redis puts the announcements of all
 * edges into one order, which all of them see. An edge that sees another's announcement of a client
 * after its own has lost the client and closes its connection; one that sees it before its own is
 * about to win and waits.
 *
 * An edge whose subscription had a gap may have missed announcements. It announces what it holds
 * again, marked as `renewed`. Whoever holds the client undisputed has the newer connection, and
 * answers by announcing it once more. If both had the gap, both renew, and the order decides.
 *
 * Pure: decides, and tells its caller what to announce and what to close.
 */
import type { Connection } from '../../common/transport/transport.js';

export interface Announced {
  readonly edgeIncarnation: string;
  readonly connection: Connection;
  readonly renewed: boolean;
}

/** `close` the local connection, it was taken over · `announce` the local connection once more. */
export type TakeoverDecision = 'nothing' | 'close' | 'announce';

export class Takeover {
  /** Connections whose own announcement has not come back yet, with the time it was sent. */
  readonly #unseen = new Map<Connection, number>();

  constructor(readonly edgeIncarnation: string) {}

  /** The connection's announcement is being sent. */
  announcing(connection: Connection, nowMs: number): void {
    this.#unseen.delete(connection);
    this.#unseen.set(connection, nowMs);
  }

  forget(connection: Connection): void {
    this.#unseen.delete(connection);
  }

  /** @param held this edge's connection of the announced client, if it has one */
  onAnnounced(announced: Announced, held: Connection | undefined): TakeoverDecision {
    if (announced.edgeIncarnation === this.edgeIncarnation) {
      this.#unseen.delete(announced.connection);
      return 'nothing';
    }
    if (held === undefined || this.#unseen.has(held)) return 'nothing';
    return announced.renewed ? 'announce' : 'close';
  }

  /** Connections whose announcement was sent before `sentBeforeMs` and must be presumed lost. */
  *overdue(sentBeforeMs: number): Generator<Connection> {
    for (const [connection, sentMs] of this.#unseen) {
      if (sentMs >= sentBeforeMs) return;
      yield connection;
    }
  }
}
