/**
 * WebSockets without a subprotocol or with `longline.raw`: each push is one frame with the bare
 * payload, for clients that do not know Longline. The frame is text if the content type is textual,
 * otherwise binary. Nothing can express a gap.
 *
 * Such a client receives no ids and cannot send acks. But every client answers pings, in order with
 * what it reads: after pushes the edge sends a ping with the newest id, and the pong confirms them.
 */
import { isUtf8 } from 'node:buffer';
import type { Counter } from 'prom-client';
import { isMessageId } from '../../../common/cluster/inbox.js';
import type { Metrics } from '../../../common/process/metrics.js';
import type { Connection } from '../../../common/transport/transport.js';
import {
  binaryFrame,
  EMPTY_PING,
  payloadBytes,
  pingFrame,
  textFrame,
} from '../../../common/wire/websocket/writer.js';
import { isTextual } from '../content-type.js';
import type { EndReason, Host, Message, Protocol } from '../protocol.js';
import { closeFrameOf, goawayFrame } from './close-codes.js';
import { type MessageSink, type WebSocketConfig, WebSocketInbound } from './inbound.js';

export class RawWebSocketProtocol implements Protocol, MessageSink {
  readonly name = 'websocket';
  readonly isEncodingShared = true;
  readonly joinsParts = true;
  readonly heartbeat = EMPTY_PING;
  readonly messageBytesMax = 4 * 1024;
  readonly #inbound: WebSocketInbound;
  /** Connections that were sent a durable push after their last ping. */
  readonly #unpinged = new Set<Connection>();
  readonly #ignored: Counter;

  constructor(
    readonly host: Host,
    config: WebSocketConfig,
    failures: Counter<'code'>,
    metrics: Metrics,
  ) {
    this.#inbound = new WebSocketInbound(config, this, failures);
    this.#ignored = metrics.counter(
      'longline_edge_websocket_messages_ignored_total',
      'Messages from devices on WebSockets without a subprotocol, which are discarded',
    );
  }

  restartTimer(connection: Connection): void {
    this.#inbound.restartTimer(connection);
  }

  encodePush(connection: Connection, { id, payload, contentType }: Message): Buffer {
    if (id !== '') this.#unpinged.add(connection);
    return isTextual(contentType) && isUtf8(payload) ? textFrame(payload) : binaryFrame(payload);
  }

  encodeGoaway(_: Connection, _retryMs: number, url: string | undefined): Buffer {
    return goawayFrame(url);
  }

  encodeClose(_: Connection, reason: EndReason): Buffer | undefined {
    return closeFrameOf(reason);
  }

  messageBytes(encoded: Buffer): number {
    return payloadBytes(encoded);
  }

  onBytes(connection: Connection, bytes: Buffer): void {
    this.#inbound.read(connection, bytes);
  }

  onTimer(connection: Connection): void {
    this.host.end(connection, 'silent');
  }

  onClosed(connection: Connection): void {
    this.#unpinged.delete(connection);
    this.#inbound.forget(connection);
  }

  sweep(): void {
    this.#inbound.sweep();
    const unpinged = [...this.#unpinged];
    this.#unpinged.clear();
    for (const connection of unpinged) {
      const id = this.host.lastSentId(connection);
      if (id !== '') this.host.reply(connection, pingFrame(id));
    }
  }

  /** Discarded, not rejected: many clients send keepalive messages of their own. */
  onMessage(): undefined {
    this.#ignored.inc();
  }

  onPong(connection: Connection, payload: Buffer): void {
    const id = payload.toString('latin1');
    if (isMessageId(id)) this.host.confirm(connection, id);
  }
}
