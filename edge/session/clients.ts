/**
 * The life of a client's connection. It is registered as `opening`. It is accepted when Redis has
 * confirmed the subscription of its shard, so that from then on it can miss no push. It receives
 * the backlog of its inbox, becomes live, and ends for exactly one reason.
 *
 * It is the `Host` of protocols, and the `ShardClients` of shard channels.
 */
import type { Counter } from 'prom-client';
import type { PushOutcome } from '../../common/cluster/push-outcomes.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import type { Rejection } from '../../common/process/errors.js';
import type { Metrics } from '../../common/process/metrics.js';
import { toUnixMs, unixMs } from '../../common/process/time/clock.js';
import type { Connection, Transport } from '../../common/transport/transport.js';
import type { Announcement } from '../../proto/gen/longline/v1/envelope.js';
import type { Presence } from '../../proto/gen/longline/v1/push.js';
import type {
  ConnectRequest,
  EndReason,
  Host,
  Message,
  Protocol,
  StartFrom,
} from '../protocol/protocol.js';
import { SecondCounts } from '../protocol/second-counts.js';
import type { Announcements } from '../shards/announcements.js';
import type { Shards } from '../shards/shards.js';
import type { BroadcastCounts, BroadcastPush, ShardClients, Target } from '../shards/targets.js';
import type { CatchUp } from './catch-up.js';
import type { Confirmations } from './confirmations.js';
import type { Admitted, ConnectionLabels } from './connection-labels.js';
import type { Connections } from './connections.js';
import type { MessageLimits } from './message-limits.js';
import type { PushCounts } from './slow/push-counts.js';
import type { SlowDevices } from './slow/slow-devices.js';
import type { Takeover } from './takeover.js';
import type { TokenExpiry } from './token-expiry.js';
import { writeMany, writeSame, writeSelected } from './write-many.js';

/** A connection that waits for the subscription of its shard. */
interface Opening {
  readonly sinceMs: number;
  readonly request: ConnectRequest;
  /** Bytes that have arrived meanwhile. */
  earlyData: Buffer;
}

/** Bound on the bytes of a device before it is accepted: a few requests, not a stream. */
export const EARLY_DATA_BYTES_MAX = 16 * 1024;

/** From the connect to the first read of the inbox, while Redis answers. */
const FIRST_READ_MS_MAX = 10_000;

/** An announcement that has not arrived back after this time is sent again. */
const ANNOUNCEMENT_OVERDUE_MS = 3_000;

/** Source addresses of connections, as the socket or a PROXY header states them. */
export interface PeerLookup {
  /** `address:port`; undefined for a connection that has closed. */
  addressOf(connection: Connection): string | undefined;
  /** Whether the device connects through a front proxy and knows no other address. */
  isFronted(connection: Connection): boolean;
}

export interface ClientsOptions {
  readonly edgeId: string;
  readonly inboundBytesPerSecondMax: number;
  readonly table: Connections;
  readonly names: Pick<ShardNames, 'channelOf'>;
  readonly shards: Pick<Shards, 'isConfirmed' | 'owns' | 'reconcile'>;
  readonly transport: Pick<Transport, 'write' | 'writeMany' | 'setTimer' | 'end' | 'destroy'>;
  readonly peers: PeerLookup;
  readonly catchUp: CatchUp;
  readonly confirmations: Confirmations;
  readonly tokenExpiry: TokenExpiry;
  readonly takeover: Takeover;
  readonly announcements: Pick<Announcements, 'add' | 'note'>;
  readonly limits: MessageLimits;
  readonly labels: ConnectionLabels;
  readonly counts: PushCounts;
  readonly slowDevices: SlowDevices;
  /** Called in the turn in which a connection has left the connection table. */
  readonly onEnded: (connection: Connection, clientId: string, reason: EndReason) => void;
  /** A durable push exceeds the maximum that the device has requested. */
  readonly onOverLimit: (connection: Connection, id: string) => void;
  readonly metrics: Metrics;
}

export class Clients implements Host, ShardClients {
  /** Oldest first. */
  readonly #opening = new Map<Connection, Opening>();
  /** Bytes received from devices since the last sweep. */
  readonly #inbound = new SecondCounts();
  readonly #ended: Counter<'reason'>;
  /** By protocol. Kept here, as the pushes, because a counter of the library takes longer. */
  readonly #opened = new Map<string, number>();
  readonly #pushes = { absent: 0, written: 0, catchingUp: 0, slow: 0, dropped: 0 };

  constructor(readonly options: ClientsOptions) {
    const { metrics } = options;
    metrics.totals(
      'longline_edge_connections_opened_total',
      'Client connections registered, by protocol',
      'protocol',
      () => this.#opened,
    );
    this.#ended = metrics.counter(
      'longline_edge_connections_closed_total',
      'Client connections ended, by reason',
      ['reason'],
    );
    metrics.totals(
      'longline_edge_pushes_total',
      'Pushes received over shard channels, by outcome: written, catching_up, slow, dropped or absent',
      'outcome',
      () => {
        const { catchingUp, ...others } = this.#pushes;
        return Object.entries({ ...others, catching_up: catchingUp });
      },
    );
  }

  /** @param earlyData bytes that followed the request */
  open(
    connection: Connection,
    shard: number,
    request: ConnectRequest,
    admitted: Admitted,
    earlyData: Buffer,
  ): void {
    const { table, tokenExpiry, labels, shards } = this.options;
    const { protocol, query } = request;
    const nowMs = performance.now();
    const older = table.add(connection, query.clientId, shard, protocol, nowMs);
    labels.set(connection, admitted.labels, admitted.queryLabels);
    tokenExpiry.register(connection, admitted);
    this.#opened.set(protocol.name, (this.#opened.get(protocol.name) ?? 0) + 1);
    if (older !== undefined) this.#onRemoved(older, query.clientId, 'session_replaced');
    if (query.maxBytes !== undefined) this.limitMessages(connection, query.maxBytes);
    request.onRegistered?.(connection);
    const opening = { sinceMs: nowMs, request, earlyData };
    if (shards.isConfirmed(shard)) return this.#accept(connection, opening);
    this.#opening.set(connection, opening);
    shards.reconcile(shard);
  }

  onConfirmed(shard: number): void {
    const { table, catchUp } = this.options;
    for (const connection of [...table.ofShard(shard)]) {
      const state = table.stateOf(connection);
      if (state === 'opening') {
        const opening = this.#opening.get(connection)!;
        this.#opening.delete(connection);
        this.#accept(connection, opening);
      } else {
        this.#announce(connection, true);
        if (state !== 'unsubscribed') catchUp.readAgain(connection);
      }
    }
  }

  announceAgain(shard: number): void {
    for (const each of this.options.table.acceptedOf(shard)) this.#announce(each, true);
  }

  onGap(shard: number): void {
    const { table, catchUp } = this.options;
    for (const connection of table.subscribedOf(shard)) catchUp.readAgain(connection);
  }

  onHistoryLost(shard: number, sinceMs: number): void {
    const { table, catchUp } = this.options;
    for (const connection of table.subscribedOf(shard)) {
      // Its backlog may have been read after the loss, so no id that it was sent proves anything.
      const isRecent = table.connectedAtMs(connection) >= sinceMs - FIRST_READ_MS_MAX;
      catchUp.readAgain(connection, isRecent);
    }
  }

  onAnnounced(shard: number, edgeIncarnation: string, announcement: Announcement): void {
    const { connection, renewed, clientId } = announcement;
    // A connection that is not accepted yet was not announced either: its announcement follows.
    const local = this.#findAccepted(shard, clientId);
    const announced = { edgeIncarnation, connection, renewed };
    const decision = this.options.takeover.onAnnounced(announced, local);
    if (decision === 'close') this.end(local!, 'session_replaced');
    else if (decision === 'announce') this.#announce(local!, false);
  }

  push(shard: number, clientId: string, message: Message): PushOutcome {
    const outcome = this.#push(shard, clientId, message);
    this.#pushes[outcome]++;
    return outcome;
  }

  pushSame(targets: readonly Target[], message: Message): PushOutcome[] {
    const { table, limits, slowDevices } = this.options;
    const found = targets.map(({ shard, clientId }) => table.findSubscribed(shard, clientId));
    const onFull = (connection: Connection) => slowDevices.onFull(connection, message.whenSlow);
    const outcomes = writeSame(this.#manyWriter, found, message, onFull, limits);
    for (const outcome of outcomes) this.#pushes[outcome]++;
    return outcomes;
  }

  broadcast(
    shards: readonly number[],
    push: BroadcastPush,
    onWritten: (shard: number) => void,
  ): BroadcastCounts | undefined {
    const { table, limits, labels, slowDevices } = this.options;
    const connections = shards.flatMap((shard) => [...table.subscribedOf(shard)]);
    const writer = {
      ...this.#manyWriter,
      onSlow: (connection: Connection) => slowDevices.onFull(connection, push.whenSlow) === 'slow',
      onWritten: (connection: Connection) => onWritten(table.shardOf(connection)),
    };
    return writeSelected(writer, connections, push, labels, limits);
  }

  presence(shard: number, clientId: string): Presence | undefined {
    const connection = this.#findAccepted(shard, clientId);
    return connection === undefined ? undefined : this.describe(connection);
  }

  describe(connection: Connection): Presence {
    const { table, edgeId, peers, shards, labels } = this.options;
    const connectedAtMs = table.connectedAtMs(connection);
    return {
      edgeId,
      connectedAtMs: toUnixMs(connectedAtMs),
      connectedForMs: Math.round(performance.now() - connectedAtMs),
      protocol: table.protocolOf(connection).name,
      remoteAddress: peers.addressOf(connection) ?? '',
      guest: !shards.owns(table.shardOf(connection)),
      labels: labels.textOf(connection),
      clientId: table.clientIdOf(connection),
    };
  }

  disconnect(shard: number, clientId: string): boolean {
    const connection = this.options.table.find(shard, clientId);
    if (connection === undefined) return false;
    this.end(connection, 'disconnected');
    return true;
  }

  /**
   * Sends a goaway and ends the connection.
   * @param ownerUrl where to connect next; a device behind a front proxy does not receive it
   */
  sendGoaway(connection: Connection, retryMs: number, ownerUrl: string | undefined): void {
    const { table, peers } = this.options;
    const url = peers.isFronted(connection) ? undefined : ownerUrl;
    const opening = this.#opening.get(connection);
    if (opening !== undefined) this.#writeAccept(connection, opening.request);
    const last = table.protocolOf(connection).encodeGoaway(connection, retryMs, url);
    this.end(connection, 'goaway', last);
  }

  /** Does nothing for a connection that is not registered any more. */
  end(connection: Connection, reason: EndReason, last?: Buffer): void {
    const { table, shards } = this.options;
    const shard = table.shardOf(connection);
    const clientId = table.clientIdOf(connection);
    if (!table.remove(connection)) return;
    this.#onRemoved(connection, clientId, reason, last);
    shards.reconcile(shard);
  }

  /** Ends a connection that was not accepted yet, with a rejection. */
  reject(connection: Connection, rejected: Rejection): void {
    const opening = this.#opening.get(connection);
    if (opening !== undefined) this.end(connection, 'not_ready', opening.request.reject(rejected));
  }

  /** To be called about once a second. */
  sweep(nowMs: number): void {
    const { table, takeover, tokenExpiry } = this.options;
    this.#inbound.clear();
    const overdue = [...takeover.overdue(nowMs - ANNOUNCEMENT_OVERDUE_MS)];
    for (const connection of overdue) this.#announce(connection, true);
    tokenExpiry.sweep(unixMs());
    for (const protocol of table.protocols) protocol.sweep?.();
  }

  /** Writes a heartbeat to the accepted connections whose slot is `part` modulo `parts`. */
  heartbeat(part: number, parts: number): void {
    const connections = this.options.table.acceptedPart(part, parts);
    writeMany(this.#manyWriter, connections, ({ heartbeat }) => heartbeat);
  }

  /** Notes one part of the connections again as devices of their users. */
  noteDevices(part: number, parts: number): void {
    const { table, announcements } = this.options;
    for (const connection of table.acceptedPart(part, parts)) {
      announcements.note(table.shardOf(connection), table.clientIdOf(connection));
    }
  }

  /** Connections that have been opening since before `sinceMs`. */
  *openingSince(sinceMs: number): Generator<Connection> {
    for (const [connection, opening] of this.#opening) {
      if (opening.sinceMs >= sinceMs) return;
      yield connection;
    }
  }

  get openingCount(): number {
    return this.#opening.size;
  }

  /** Handles bytes of a registered connection; ignores those of any other. */
  onBytes(connection: Connection, bytes: Buffer): void {
    const { table, inboundBytesPerSecondMax } = this.options;
    if (!table.has(connection)) return;
    const inbound = this.#inbound.get(connection) + bytes.length;
    this.#inbound.set(connection, inbound);
    if (inbound > inboundBytesPerSecondMax) return this.end(connection, 'flooding');
    const opening = this.#opening.get(connection);
    if (opening === undefined) {
      return this.#passBytes(connection, table.protocolOf(connection), bytes);
    }
    const { length } = opening.earlyData;
    if (!opening.request.acceptsEarlyData || length + bytes.length > EARLY_DATA_BYTES_MAX) {
      this.end(connection, 'unexpected_bytes');
    } else {
      opening.earlyData = Buffer.concat([opening.earlyData, bytes]);
    }
  }

  onTimer(connection: Connection): void {
    const { table } = this.options;
    if (table.has(connection)) table.protocolOf(connection).onTimer?.(connection);
  }

  reply(connection: Connection, bytes: Uint8Array): void {
    if (this.options.transport.write(connection, bytes) === 'full') this.end(connection, 'slow');
  }

  confirm(connection: Connection, id: string): void {
    const { table, names, confirmations, counts } = this.options;
    if (!table.has(connection) || !table.wasSent(connection, id)) return;
    counts.onConfirmed(connection);
    const channel = names.channelOf(table.shardOf(connection));
    confirmations.add(channel, table.clientIdOf(connection), id);
  }

  confirmSingle(connection: Connection, id: string): void {
    const { table, names, confirmations, counts } = this.options;
    if (!table.has(connection) || !table.wasSent(connection, id)) return;
    counts.onConfirmed(connection);
    const channel = names.channelOf(table.shardOf(connection));
    confirmations.addSingle(channel, table.clientIdOf(connection), id);
  }

  subscribe(connection: Connection, startFrom: StartFrom): void {
    const { table, catchUp } = this.options;
    if (table.stateOf(connection) === 'unsubscribed') catchUp.start(connection, '', startFrom);
  }

  unsubscribe(connection: Connection): void {
    const { table, catchUp } = this.options;
    catchUp.stop(connection);
    table.setState(connection, 'unsubscribed');
  }

  resumePushes(connection: Connection): void {
    this.options.catchUp.unpark(connection);
  }

  setTimer(connection: Connection, afterMs: number): void {
    this.options.transport.setTimer(connection, afterMs);
  }

  limitMessages(connection: Connection, bytesMax: number): void {
    this.options.limits.set(connection, bytesMax);
  }

  renewToken(connection: Connection, token: string): void {
    this.options.tokenExpiry.renew(connection, token);
  }

  clientIdOf(connection: Connection): string {
    return this.options.table.clientIdOf(connection);
  }

  lastSentId(connection: Connection): string {
    return this.options.table.lastSentId(connection);
  }

  get #manyWriter() {
    const { table, transport } = this.options;
    const onSlow = (connection: Connection) => {
      this.end(connection, 'slow');
      return true;
    };
    return { table, transport, onSlow };
  }

  #accept(connection: Connection, { request, earlyData }: Opening): void {
    const { table, catchUp } = this.options;
    this.#writeAccept(connection, request);
    this.#announce(connection, false);
    if (request.startsUnsubscribed) table.setState(connection, 'unsubscribed');
    else catchUp.start(connection, request.cursor, request.startFrom);
    if (earlyData.length > 0) this.#passBytes(connection, request.protocol, earlyData);
  }

  #passBytes(connection: Connection, protocol: Protocol, bytes: Buffer): void {
    if (protocol.onBytes === undefined) this.end(connection, 'unexpected_bytes');
    else protocol.onBytes(connection, bytes);
  }

  #writeAccept(connection: Connection, request: ConnectRequest): void {
    const { transport, tokenExpiry } = this.options;
    transport.write(connection, request.accept(tokenExpiry.ticketOf(connection)));
  }

  /** @param renewed the connection was announced before */
  #announce(connection: Connection, renewed: boolean): void {
    const { table, takeover, announcements } = this.options;
    takeover.onAnnouncing(connection, performance.now());
    const clientId = table.clientIdOf(connection);
    announcements.add(table.shardOf(connection), { clientId, connection, renewed });
  }

  #push(shard: number, clientId: string, message: Message): PushOutcome {
    const { table, shards, catchUp, transport, limits, counts, onOverLimit } = this.options;
    const { slowDevices } = this.options;
    const connection = table.findSubscribed(shard, clientId);
    if (connection === undefined) return 'absent';
    const state = table.stateOf(connection);
    const { id } = message;
    if (id !== '') {
      if (state === 'catchingUp') {
        catchUp.readAgain(connection);
        return 'catchingUp';
      }
      if (table.wasSent(connection, id)) return 'written';
      // Received again before the subscription is confirmed again: writing this push would skip the
      // ones that were missed. The confirmation causes a read of the inbox.
      if (!shards.isConfirmed(shard)) return 'catchingUp';
      if (slowDevices.leavesToInbox(connection, message)) return 'catchingUp';
    }
    const protocol = table.protocolOf(connection);
    const bytes = protocol.encodePush(connection, message);
    if (bytes === undefined) {
      catchUp.park(connection);
      return 'catchingUp';
    }
    if (!limits.allows(connection, protocol, bytes)) {
      if (id === '') return 'absent';
      onOverLimit(connection, id);
      return 'catchingUp';
    }
    const result = transport.write(connection, bytes);
    if (result === 'gone') return 'absent';
    if (result === 'full') return slowDevices.onFull(connection, message.whenSlow);
    if (id !== '') {
      table.markSent(connection, id);
      counts.onWritten(connection);
    }
    return 'written';
  }

  #findAccepted(shard: number, clientId: string): Connection | undefined {
    const { table } = this.options;
    const connection = table.find(shard, clientId);
    if (connection === undefined || table.stateOf(connection) === 'opening') return undefined;
    return connection;
  }

  /** Releases the state of a connection that has left the connection table, and closes it. */
  #onRemoved(connection: Connection, clientId: string, reason: EndReason, last?: Buffer): void {
    const { table, transport, catchUp, takeover, confirmations } = this.options;
    const { limits, labels, counts, onEnded } = this.options;
    const opening = this.#opening.get(connection);
    this.#opening.delete(connection);
    this.#inbound.forget(connection);
    catchUp.stop(connection);
    takeover.forget(connection);
    confirmations.flushClient(clientId);
    limits.forget(connection);
    labels.forget(connection);
    counts.forget(connection);
    onEnded(connection, clientId, reason);
    this.#ended.inc({ reason });
    const protocol = table.protocolOf(connection);
    if (reason === 'slow') {
      transport.destroy(connection);
    } else {
      // A connection that was not accepted does not speak the protocol yet.
      const closing = opening === undefined ? protocol.encodeClose(connection, reason) : undefined;
      const bytes = last ?? closing;
      if (bytes !== undefined) transport.write(connection, bytes);
      transport.end(connection);
    }
    protocol.onClosed?.(connection, clientId, reason);
  }
}
