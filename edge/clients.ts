/**
 * The life of a client's connection. It is registered as `opening`; it is answered when Redis has
 * confirmed the subscription of its shard, so that from then on no push can miss it; it is told what
 * its inbox holds; it is live; and it ends for exactly one reason.
 */
import type { Counter } from 'prom-client';
import type { Metrics } from '../common/metrics.js';
import { type Connection, type Transport, WRITE_RESULTS } from '../common/transport/transport.js';
import type { Presence } from '../proto/gen/longline/v1/push.js';
import type { CatchUp } from './catch-up.js';
import type { Connections } from './connections.js';
import { SSE_HEARTBEAT, SSE_TAKEN_OVER, sseEvent, sseGoaway } from './protocol/sse.js';
import type { Shards } from './shards.js';
import type { Takeover } from './takeover.js';

/**
 * Why a connection of a client ended. `peer`, `error` as the transport says · `slow` its send
 * buffer was full · `taken_over` its client has a newer connection · `disconnected` a backend
 * asked for it · `unexpected_bytes` it sent something that its protocol does not allow ·
 * `not_ready` its shard's subscription was not confirmed in time · `goaway` its shard belongs to
 * another edge, or this edge is to be empty.
 */
export type EndReason =
  | 'peer'
  | 'error'
  | 'slow'
  | 'taken_over'
  | 'disconnected'
  | 'unexpected_bytes'
  | 'not_ready'
  | 'goaway';

/**
 * `absent` the client is not here · `written` handed to its socket · `behind` its connection is
 * still being told what is stored, this push among it · `slow` its send buffer was full and its
 * connection was closed.
 */
export type PushOutcome = 'absent' | 'written' | 'behind' | 'slow';

/** What a device says when it connects. */
export interface Arrival {
  readonly clientId: string;
  readonly shard: number;
  /** What it is told first, as soon as it is answered. */
  readonly firstBytes: Buffer;
  /** The newest id that it has: an id, '' for none, undefined for something that is no id. */
  readonly cursor: string | undefined;
}

/** A connection that waits for its shard. */
interface Opening {
  readonly sinceMs: number;
  readonly arrival: Arrival;
}

export class Clients {
  /** Oldest first. */
  readonly #opening = new Map<Connection, Opening>();
  readonly #opened: Counter;
  readonly #ended: Counter<'reason'>;
  /** Bound to their labels: looking them up takes longer than counting. */
  readonly #pushes: Readonly<Record<PushOutcome, Counter.Internal>>;

  /** @param announce sends the announcement of a connection that was answered */
  constructor(
    readonly table: Connections,
    readonly shards: Shards,
    readonly transport: Transport,
    readonly catchUp: CatchUp,
    readonly takeover: Takeover,
    readonly edgeId: string,
    readonly announce: (connection: Connection, renewed: boolean) => void,
    metrics: Metrics,
  ) {
    this.#opened = metrics.counter(
      'longline_edge_connections_opened_total',
      'Connections of clients that were registered.',
    );
    this.#ended = metrics.counter(
      'longline_edge_connections_ended_total',
      'Connections of clients that ended, by reason.',
      ['reason'],
    );
    const pushes = metrics.counter(
      'longline_edge_pushes_total',
      'Pushes that came over shard channels, by outcome.',
      ['outcome'],
    );
    this.#pushes = {
      absent: pushes.labels('absent'),
      written: pushes.labels('written'),
      behind: pushes.labels('behind'),
      slow: pushes.labels('slow'),
    };
  }

  open(connection: Connection, arrival: Arrival): void {
    const { clientId, shard } = arrival;
    const nowMs = Date.now();
    const older = this.table.add(connection, clientId, shard, nowMs);
    this.#opened.inc();
    if (older !== undefined) this.#ending(older, 'taken_over');
    this.#opening.set(connection, { sinceMs: nowMs, arrival });
    this.shards.reconcile(shard);
    if (this.shards.isConfirmed(shard)) this.#answer(connection);
  }

  /** The subscription of a shard is confirmed, for the first time or after it was lost. */
  onConfirmed(shard: number): void {
    for (const connection of [...this.table.ofShard(shard)]) {
      if (this.table.stateOf(connection) === 'opening') {
        this.#answer(connection);
      } else {
        this.announce(connection, true);
        this.catchUp.start(connection, '', false);
      }
    }
  }

  /** Pushes of the shard were missed: what they were is in the inboxes. */
  onGap(shard: number): void {
    for (const connection of this.table.ofShard(shard)) {
      if (this.table.stateOf(connection) !== 'opening') this.catchUp.start(connection, '', false);
    }
  }

  push(shard: number, clientId: string, id: string, payload: Buffer): PushOutcome {
    const outcome = this.#push(shard, clientId, id, payload);
    this.#pushes[outcome].inc();
    return outcome;
  }

  /** Writes a live-only push to every client of the shard. */
  broadcast(shard: number, payload: Buffer): { written: number; slow: number } {
    return this.#writeAll(this.table.answeredOf(shard), sseEvent('', payload));
  }

  presence(shard: number, clientId: string): Presence | undefined {
    const connection = this.#findAnswered(shard, clientId);
    if (connection === undefined) return undefined;
    return {
      edgeId: this.edgeId,
      connectedAtMs: this.table.connectedAtMs(connection),
      protocol: 'sse',
      remoteAddress: this.transport.remoteAddress(connection) ?? '',
      guest: !this.shards.owns(shard),
    };
  }

  /** Returns false when the client is not here. */
  disconnect(shard: number, clientId: string): boolean {
    const connection = this.table.find(shard, clientId);
    if (connection === undefined) return false;
    this.end(connection, 'disconnected');
    return true;
  }

  /** Tells a device to connect elsewhere, and ends its connection. */
  letGo(connection: Connection, retryMs: number, url: string | undefined): void {
    const opening = this.#opening.get(connection);
    if (opening !== undefined) this.transport.write(connection, opening.arrival.firstBytes);
    this.transport.write(connection, sseGoaway(retryMs, url));
    this.end(connection, 'goaway');
  }

  /** Ends a connection of ours. Does nothing for one that holds no client any more. */
  end(connection: Connection, reason: EndReason): void {
    const shard = this.table.shardOf(connection);
    if (!this.table.remove(connection)) return;
    this.#ending(connection, reason);
    this.shards.reconcile(shard);
  }

  /** One step of the heartbeat: every connection of this part of the table gets a comment. */
  heartbeat(part: number, parts: number): void {
    this.#writeAll(this.table.answeredPart(part, parts), SSE_HEARTBEAT);
  }

  /** The connections that have been opening since before `sinceMs`. */
  *openingSince(sinceMs: number): Generator<Connection> {
    for (const [connection, opening] of this.#opening) {
      if (opening.sinceMs >= sinceMs) return;
      yield connection;
    }
  }

  get openingCount(): number {
    return this.#opening.size;
  }

  #answer(connection: Connection): void {
    const { firstBytes, cursor } = this.#opening.get(connection)!.arrival;
    this.#opening.delete(connection);
    this.transport.write(connection, firstBytes);
    this.announce(connection, false);
    this.catchUp.start(connection, cursor ?? '', cursor === undefined);
  }

  #push(shard: number, clientId: string, id: string, payload: Buffer): PushOutcome {
    const connection = this.#findAnswered(shard, clientId);
    if (connection === undefined) return 'absent';
    if (id !== '') {
      if (this.table.stateOf(connection) === 'behind') {
        this.catchUp.again(connection);
        return 'behind';
      }
      if (this.table.wasSent(connection, id)) return 'written';
      // Heard again before it is known that the subscription is back: writing this one would pass
      // over what was missed. With the confirmation, the inbox is read.
      if (!this.shards.isConfirmed(shard)) return 'behind';
    }
    const result = this.transport.write(connection, sseEvent(id, payload));
    if (result === 'gone') return 'absent';
    if (result === 'full') {
      this.end(connection, 'slow');
      return 'slow';
    }
    if (id !== '') this.table.markSent(connection, id);
    return 'written';
  }

  /** Ends those that do not read. */
  #writeAll(
    connections: Iterable<Connection>,
    bytes: Uint8Array,
  ): { written: number; slow: number } {
    const all = Float64Array.from(connections);
    const results = new Uint8Array(all.length);
    this.transport.writeMany(all, all.length, bytes, results);
    let written = 0;
    let slow = 0;
    for (const [i, connection] of all.entries()) {
      const result = WRITE_RESULTS[results[i]!];
      if (result === 'accepted') written++;
      if (result !== 'full') continue;
      this.end(connection, 'slow');
      slow++;
    }
    return { written, slow };
  }

  #findAnswered(shard: number, clientId: string): Connection | undefined {
    const connection = this.table.find(shard, clientId);
    if (connection === undefined || this.table.stateOf(connection) === 'opening') return undefined;
    return connection;
  }

  /** What remains to be done for a connection that has left the table. */
  #ending(connection: Connection, reason: EndReason): void {
    const wasAnswered = !this.#opening.delete(connection);
    this.takeover.forget(connection);
    this.#ended.inc({ reason });
    if (reason === 'slow') {
      this.transport.destroy(connection);
    } else if (reason !== 'not_ready') {
      if (reason === 'taken_over' && wasAnswered) this.transport.write(connection, SSE_TAKEN_OVER);
      this.transport.end(connection);
    }
  }
}
