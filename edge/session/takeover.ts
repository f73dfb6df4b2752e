/**
 * Decides between two connections of one clientId: the newer wins, cluster-wide, without clocks.
 *
 * Every accepted connection is announced on its shard's channel. Redis orders the announcements of
 * all edges, and all edges receive them in that order. An edge that receives another edge's
 * announcement of a client after its own has lost the client and closes its connection. An edge
 * that receives it before its own announcement is about to win, and waits.
 *
 * An edge whose subscription had a gap may have missed announcements. It announces its connections
 * again, marked as `renewed`. An edge whose connection of that client is undisputed has the newer
 * one, and replies with another announcement. If both had the gap, both renew, and the order
 * decides.
 *
 * Pure: returns what the caller must announce or close.
 */
import type { Connection } from '../../common/transport/transport.js';

export interface Announced {
  readonly edgeIncarnation: string;
  readonly connection: Connection;
  readonly renewed: boolean;
}

/** `close` the local connection: it was replaced · `announce` the local connection once more. */
export type TakeoverDecision = 'nothing' | 'close' | 'announce';

export class Takeover {
  /** Connections whose own announcement has not arrived back yet, with the time it was sent. */
  readonly #unconfirmed = new Map<Connection, number>();
  /** Connections whose beginning may be missing in the events. */
  readonly #notEntered = new Set<Connection>();

  constructor(readonly edgeIncarnation: string) {}

  /** The connection's announcement is being sent. */
  onAnnouncing(connection: Connection, nowMs: number): void {
    this.#unconfirmed.delete(connection);
    this.#unconfirmed.set(connection, nowMs);
    this.#notEntered.delete(connection);
  }

  /**
   * The events know another connection of the client, which has ended or will end this one. Or what
   * they know is unknown.
   */
  onNotEntered(connection: Connection): void {
    this.#notEntered.add(connection);
  }

  forget(connection: Connection): void {
    this.#unconfirmed.delete(connection);
    this.#notEntered.delete(connection);
  }

  /** @param local this edge's connection of the announced client, if any */
  onAnnounced(announced: Announced, local: Connection | undefined): TakeoverDecision {
    if (announced.edgeIncarnation === this.edgeIncarnation) {
      this.#unconfirmed.delete(announced.connection);
      return 'nothing';
    }
    if (local === undefined || this.#unconfirmed.has(local)) return 'nothing';
    return announced.renewed ? 'announce' : 'close';
  }

  /**
   * Connections whose announcement was sent before `sentBeforeMs` and must be presumed lost, or has
   * to be repeated for the events.
   */
  *overdue(sentBeforeMs: number): Generator<Connection> {
    yield* this.#notEntered;
    for (const [connection, sentMs] of this.#unconfirmed) {
      if (sentMs >= sentBeforeMs) return;
      yield connection;
    }
  }
}
