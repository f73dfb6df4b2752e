/**
 * The life of a client's connection. It is registered as `opening`; it is answered when Redis has
 * confirmed the subscription of its shard, so that from then on no push can miss it; it is told what
 * its inbox holds; it is live; and it ends for exactly one reason.
 *
 * What it speaks is its protocol's business; this is what the protocols see of the edge.
 */
import type { Counter } from 'prom-client';
import type { Verified } from '../../common/auth/authenticator.js';
import type { Rejection } from '../../common/process/errors.js';
import type { Metrics } from '../../common/process/metrics.js';
import {
  type Connection,
  type Transport,
  WRITE_RESULTS,
} from '../../common/transport/transport.js';
import type { Presence } from '../../proto/gen/longline/v1/push.js';
import type { PeerAddresses } from '../accept/peer-addresses.js';
import type {
  ConnectRequest,
  EndReason,
  Host,
  Message,
  Protocol,
  StartFrom,
} from '../protocol/protocol.js';
import type { Shards } from '../shards/shards.js';
import type { CatchUp } from './catch-up.js';
import type { Confirmations } from './confirmations.js';
import type { Connections } from './connections.js';
import { SecondCounts } from './second-counts.js';
import type { Takeover } from './takeover.js';
import type { TokenExpiry } from './token-expiry.js';

/**
 * `absent` the client is not here · `written` handed to its socket · `behind` its connection is
 * still being told what is stored, this push among it · `slow` its send buffer was full and its
 * connection was closed.
 */
export type PushOutcome = 'absent' | 'written' | 'catchingUp' | 'slow';

/** A connection that waits for its shard. */
interface Opening {
  readonly sinceMs: number;
  readonly request: ConnectRequest;
  /** What it has sent meanwhile. */
  early: Buffer;
}

/** What a device may send before it is answered: some requests, not a stream. */
export const EARLY_BYTES_MAX = 16 * 1024;

export class Clients implements Host {
  /** Oldest first. */
  readonly #opening = new Map<Connection, Opening>();
  /** What devices have sent since the last sweep, in bytes. */
  readonly #inbound = new SecondCounts();
  readonly #opened: Counter<'protocol'>;
  readonly #ended: Counter<'reason'>;
  /** Bound to their labels: looking them up takes longer than counting. */
  readonly #pushes: Readonly<Record<PushOutcome, Counter.Internal>>;

  /** @param announce sends the announcement of a connection that was answered */
  constructor(
    readonly table: Connections,
    readonly shards: Shards,
    readonly transport: Transport,
    readonly catchUp: CatchUp,
    readonly confirmations: Confirmations,
    readonly tokenExpiry: TokenExpiry,
    readonly takeover: Takeover,
    readonly edgeId: string,
    readonly inboundBytesPerSecondMax: number,
    readonly origins: PeerAddresses,
    readonly announce: (connection: Connection, renewed: boolean) => void,
    metrics: Metrics,
  ) {
    this.#opened = metrics.counter(
      'longline_edge_connections_opened_total',
      'Connections of clients that were registered, by protocol.',
      ['protocol'],
    );
    this.#ended = metrics.counter(
      'longline_edge_connections_closed_total',
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
      catchingUp: pushes.labels('catching_up'),
      slow: pushes.labels('slow'),
    };
  }

  /** @param early what has come behind the request */
  open(
    connection: Connection,
    shard: number,
    request: ConnectRequest,
    verified: Verified,
    early: Buffer,
  ): void {
    const { protocol, query } = request;
    const nowMs = Date.now();
    const older = this.table.add(connection, query.clientId, shard, protocol, nowMs);
    this.tokenExpiry.register(connection, verified);
    this.#opened.inc({ protocol: protocol.name });
    if (older !== undefined) this.#ending(older, query.clientId, 'session_replaced');
    request.onRegistered?.(connection);
    const opening = { sinceMs: nowMs, request, early };
    if (this.shards.isConfirmed(shard)) return this.#answer(connection, opening);
    this.#opening.set(connection, opening);
    this.shards.reconcile(shard);
  }

  /** The subscription of a shard is confirmed, for the first time or after it was lost. */
  onConfirmed(shard: number): void {
    for (const connection of [...this.table.ofShard(shard)]) {
      const state = this.table.stateOf(connection);
      if (state === 'opening') {
        const opening = this.#opening.get(connection)!;
        this.#opening.delete(connection);
        this.#answer(connection, opening);
      } else {
        this.announce(connection, true);
        if (state !== 'unsubscribed') this.catchUp.again(connection);
      }
    }
  }

  /** Pushes of the shard were missed: what they were is in the inboxes. */
  onGap(shard: number): void {
    for (const connection of this.table.listeningOf(shard)) this.catchUp.again(connection);
  }

  push(shard: number, clientId: string, message: Message): PushOutcome {
    const outcome = this.#push(shard, clientId, message);
    this.#pushes[outcome].inc();
    return outcome;
  }

  /** Writes a live-only push to every client of the shard. */
  broadcast(shard: number, payload: Buffer, contentType: string) {
    const message = { id: '', payload, contentType, ttlMs: 0 };
    return this.#writeAll(this.table.listeningOf(shard), (protocol, connection) =>
      protocol.encodePush(connection, message),
    );
  }

  presence(shard: number, clientId: string): Presence | undefined {
    const connection = this.#findAnswered(shard, clientId);
    if (connection === undefined) return undefined;
    return {
      edgeId: this.edgeId,
      connectedAtMs: this.table.connectedAtMs(connection),
      protocol: this.table.protocolOf(connection).name,
      remoteAddress: this.origins.addressOf(connection) ?? '',
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

  /** Tells a device to connect elsewhere, and ends its connection. One that a front brought knows no elsewhere. */
  letGo(connection: Connection, retryMs: number, owner: string | undefined): void {
    const url = this.origins.isFronted(connection) ? undefined : owner;
    const opening = this.#opening.get(connection);
    if (opening !== undefined) this.#writeAnswer(connection, opening.request);
    const last = this.table.protocolOf(connection).encodeGoaway(connection, retryMs, url);
    this.end(connection, 'goaway', last);
  }

  /** Ends a connection of ours. Does nothing for one that holds no client any more. */
  end(connection: Connection, reason: EndReason, last?: Buffer): void {
    const shard = this.table.shardOf(connection);
    const clientId = this.table.clientIdOf(connection);
    if (!this.table.remove(connection)) return;
    this.#ending(connection, clientId, reason, last);
    this.shards.reconcile(shard);
  }

  /** Ends one that was never answered, with this in place of the answer. */
  reject(connection: Connection, rejected: Rejection): void {
    const opening = this.#opening.get(connection);
    if (opening !== undefined) {
      this.end(connection, 'not_ready', opening.request.reject(rejected));
    }
  }

  /** To be called about once a second. */
  sweep(): void {
    this.#inbound.clear();
    this.tokenExpiry.sweep(Date.now());
    for (const protocol of this.table.protocols) protocol.sweep?.();
  }

  /** One step of the heartbeat: every connection of this part of the table hears something. */
  heartbeat(part: number, parts: number): void {
    this.#writeAll(this.table.answeredPart(part, parts), ({ heartbeat }) => heartbeat);
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

  /** A connection that holds a client has sent something. */
  onBytes(connection: Connection, bytes: Buffer): void {
    if (!this.table.holds(connection)) return;
    const inbound = this.#inbound.get(connection) + bytes.length;
    this.#inbound.set(connection, inbound);
    if (inbound > this.inboundBytesPerSecondMax) return this.end(connection, 'flooding');
    const opening = this.#opening.get(connection);
    if (opening === undefined) {
      this.table.protocolOf(connection).onBytes(connection, bytes);
      return;
    }
    const { length } = opening.early;
    if (!opening.request.acceptsEarlyData || length + bytes.length > EARLY_BYTES_MAX) {
      this.end(connection, 'unexpected_bytes');
    } else {
      opening.early = Buffer.concat([opening.early, bytes]);
    }
  }

  onTimer(connection: Connection): void {
    if (this.table.holds(connection)) this.table.protocolOf(connection).onTimer?.(connection);
  }

  reply(connection: Connection, bytes: Uint8Array): void {
    if (this.transport.write(connection, bytes) === 'full') this.end(connection, 'slow');
  }

  confirm(connection: Connection, id: string): void {
    const { table } = this;
    if (!table.holds(connection) || !table.wasSent(connection, id)) return;
    const tag = this.shards.tagOf(table.shardOf(connection));
    this.confirmations.add(tag, table.clientIdOf(connection), id);
  }

  subscribe(connection: Connection, from: StartFrom): void {
    if (this.table.stateOf(connection) === 'unsubscribed') this.catchUp.start(connection, '', from);
  }

  unsubscribe(connection: Connection): void {
    this.catchUp.stop(connection);
    this.table.become(connection, 'unsubscribed');
  }

  resumePushes(connection: Connection): void {
    this.catchUp.wake(connection);
  }

  setTimer(connection: Connection, afterMs: number): void {
    this.transport.setTimer(connection, afterMs);
  }

  renewToken(connection: Connection, token: string): void {
    this.tokenExpiry.renew(connection, token);
  }

  clientIdOf(connection: Connection): string {
    return this.table.clientIdOf(connection);
  }

  lastSentId(connection: Connection): string {
    return this.table.lastSentId(connection);
  }

  #answer(connection: Connection, { request, early }: Opening): void {
    this.#writeAnswer(connection, request);
    this.announce(connection, false);
    if (request.startsUnsubscribed) this.table.become(connection, 'unsubscribed');
    else this.catchUp.start(connection, request.cursor, request.startFrom);
    if (early.length > 0) request.protocol.onBytes(connection, early);
  }

  #writeAnswer(connection: Connection, request: ConnectRequest): void {
    this.transport.write(connection, request.accept(this.tokenExpiry.ticketOf(connection)));
  }

  #push(shard: number, clientId: string, message: Message): PushOutcome {
    const connection = this.#findAnswered(shard, clientId);
    if (connection === undefined) return 'absent';
    const state = this.table.stateOf(connection);
    if (state === 'unsubscribed') return 'absent';
    const { id } = message;
    if (id !== '') {
      if (state === 'catchingUp') {
        this.catchUp.again(connection);
        return 'catchingUp';
      }
      if (this.table.wasSent(connection, id)) return 'written';
      // Heard again before it is known that the subscription is back: writing this one would pass
      // over what was missed. With the confirmation, the inbox is read.
      if (!this.shards.isConfirmed(shard)) return 'catchingUp';
    }
    const bytes = this.table.protocolOf(connection).encodePush(connection, message);
    if (bytes === undefined) {
      this.catchUp.park(connection);
      return 'catchingUp';
    }
    const result = this.transport.write(connection, bytes);
    if (result === 'gone') return 'absent';
    if (result === 'full') {
      this.end(connection, 'slow');
      return 'slow';
    }
    if (id !== '') this.table.markSent(connection, id);
    return 'written';
  }

  /**
   * Writes to all of them, what is the same for several with one call. Ends those that do not read.
   * @param encode undefined: nothing for this one
   */
  #writeAll(
    connections: Iterable<Connection>,
    encode: (protocol: Protocol, connection: Connection) => Buffer | undefined,
  ): { written: number; slow: number } {
    const counts = { written: 0, slow: 0 };
    const alike = new Map<Protocol, Connection[]>();
    for (const connection of [...connections]) {
      const protocol = this.table.protocolOf(connection);
      if (!protocol.isEncodingShared) {
        this.#writeAlike([connection], encode(protocol, connection), counts);
        continue;
      }
      const others = alike.get(protocol);
      if (others === undefined) alike.set(protocol, [connection]);
      else others.push(connection);
    }
    for (const [protocol, all] of alike) this.#writeAlike(all, encode(protocol, all[0]!), counts);
    return counts;
  }

  #writeAlike(
    connections: readonly Connection[],
    bytes: Buffer | undefined,
    counts: { written: number; slow: number },
  ): void {
    if (bytes === undefined) return;
    const results = new Uint8Array(connections.length);
    this.transport.writeMany(Float64Array.from(connections), connections.length, bytes, results);
    for (const [i, connection] of connections.entries()) {
      const result = WRITE_RESULTS[results[i]!];
      if (result === 'accepted') counts.written++;
      if (result !== 'full') continue;
      this.end(connection, 'slow');
      counts.slow++;
    }
  }

  #findAnswered(shard: number, clientId: string): Connection | undefined {
    const connection = this.table.find(shard, clientId);
    if (connection === undefined || this.table.stateOf(connection) === 'opening') return undefined;
    return connection;
  }

  /** What remains to be done for a connection that has left the table. */
  #ending(connection: Connection, clientId: string, reason: EndReason, last?: Buffer): void {
    const opening = this.#opening.get(connection);
    this.#opening.delete(connection);
    this.#inbound.forget(connection);
    this.catchUp.stop(connection);
    this.takeover.forget(connection);
    this.confirmations.hurry(clientId);
    this.#ended.inc({ reason });
    const protocol = this.table.protocolOf(connection);
    if (reason === 'slow') {
      this.transport.destroy(connection);
    } else {
      // Who was not answered yet does not speak the protocol yet.
      const closeBytes = opening === undefined ? protocol.encodeClose(connection, reason) : undefined;
      const bytes = last ?? closeBytes;
      if (bytes !== undefined) this.transport.write(connection, bytes);
      this.transport.end(connection);
    }
    protocol.onClosed?.(connection, clientId, reason);
  }
}
