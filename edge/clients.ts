/**
 * The life of a client's connection. It is registered as `opening`, goes live when Redis has
 * confirmed the subscription of its shard (from then on no push can miss it), is written to, and
 * ends for exactly one reason.
 */
import type { Counter } from 'prom-client';
import type { Metrics } from '../common/metrics.js';
import type { Connection, Transport } from '../common/transport/transport.js';
import type { Presence } from '../proto/gen/longline/v1/push.js';
import type { Connections } from './connections.js';
import { SSE_HEARTBEAT, SSE_TAKEN_OVER, sseEvent } from './protocol/sse.js';
import type { Shards } from './shards.js';
import type { Takeover } from './takeover.js';

/**
 * Why a connection of a client ended. `peer`, `error` as the transport says · `slow` its send
 * buffer was full · `taken_over` its client has a newer connection · `disconnected` a backend
 * asked for it · `unexpected_bytes` it sent something that its protocol does not allow ·
 * `not_ready` its shard's subscription was not confirmed in time.
 */
export type EndReason =
  | 'peer'
  | 'error'
  | 'slow'
  | 'taken_over'
  | 'disconnected'
  | 'unexpected_bytes'
  | 'not_ready';

export type PushOutcome = 'absent' | 'written' | 'slow';

/** A connection that waits for its shard. */
interface Opening {
  readonly sinceMs: number;
  /** What its device is told first, as soon as it is live. */
  readonly firstBytes: Buffer;
}

export class Clients {
  /** Oldest first. */
  readonly #opening = new Map<Connection, Opening>();
  readonly #opened: Counter;
  readonly #ended: Counter<'reason'>;
  readonly #pushes: Counter<'outcome'>;

  /** @param announce sends the announcement of a connection that is live */
  constructor(
    readonly table: Connections,
    readonly shards: Shards,
    readonly transport: Transport,
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
    this.#pushes = metrics.counter(
      'longline_edge_pushes_total',
      'Pushes that came over shard channels, by outcome.',
      ['outcome'],
    );
  }

  /** @param firstBytes what the device is told as soon as its pushes can no longer be missed */
  open(connection: Connection, clientId: string, shard: number, firstBytes: Buffer): void {
    const nowMs = Date.now();
    const older = this.table.add(connection, clientId, shard, nowMs);
    this.#opened.inc();
    if (older !== undefined) this.#ending(older, 'taken_over');
    this.#opening.set(connection, { sinceMs: nowMs, firstBytes });
    this.shards.reconcile(shard);
    if (this.shards.isConfirmed(shard)) this.#goLive(connection);
  }

  /** The subscription of a shard is confirmed, for the first time or after a gap. */
  onConfirmed(shard: number): void {
    for (const connection of [...this.table.ofShard(shard)]) {
      if (this.table.stateOf(connection) === 'live') this.announce(connection, true);
      else this.#goLive(connection);
    }
  }

  push(shard: number, clientId: string, id: string, payload: Buffer): PushOutcome {
    const outcome = this.#push(shard, clientId, id, payload);
    this.#pushes.inc({ outcome });
    return outcome;
  }

  presence(shard: number, clientId: string): Presence | undefined {
    const connection = this.#findLive(shard, clientId);
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

  /** Ends a connection of ours. Does nothing for one that holds no client any more. */
  end(connection: Connection, reason: EndReason): void {
    const shard = this.table.shardOf(connection);
    if (!this.table.remove(connection)) return;
    this.#ending(connection, reason);
    this.shards.reconcile(shard);
  }

  /** One step of the heartbeat: every connection of this part of the table gets a comment. */
  heartbeat(part: number, parts: number): void {
    for (const connection of this.table.livePart(part, parts)) {
      if (this.transport.write(connection, SSE_HEARTBEAT) === 'full') this.end(connection, 'slow');
    }
  }

  /** The connections that have been opening since before `sinceMs`. */
  *openingSince(sinceMs: number): Generator<Connection> {
    for (const [connection, opening] of this.#opening) {
      if (opening.sinceMs >= sinceMs) return;
      yield connection;
    }
  }

  #goLive(connection: Connection): void {
    const { firstBytes } = this.#opening.get(connection)!;
    this.#opening.delete(connection);
    this.table.becomeLive(connection);
    this.transport.write(connection, firstBytes);
    this.announce(connection, false);
  }

  #push(shard: number, clientId: string, id: string, payload: Buffer): PushOutcome {
    const connection = this.#findLive(shard, clientId);
    if (connection === undefined) return 'absent';
    const result = this.transport.write(connection, sseEvent(id, payload));
    if (result === 'accepted') return 'written';
    if (result === 'gone') return 'absent';
    this.end(connection, 'slow');
    return 'slow';
  }

  #findLive(shard: number, clientId: string): Connection | undefined {
    const connection = this.table.find(shard, clientId);
    if (connection === undefined || this.table.stateOf(connection) !== 'live') return undefined;
    return connection;
  }

  /** What remains to be done for a connection that has left the table. */
  #ending(connection: Connection, reason: EndReason): void {
    const wasLive = !this.#opening.delete(connection);
    this.takeover.forget(connection);
    this.#ended.inc({ reason });
    if (reason === 'slow') {
      this.transport.destroy(connection);
    } else if (reason !== 'not_ready') {
      if (reason === 'taken_over' && wasLive) this.transport.write(connection, SSE_TAKEN_OVER);
      this.transport.end(connection);
    }
  }
}
