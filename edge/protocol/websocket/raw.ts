/**
 * WebSockets without a subprotocol, or with `longline.raw`: each push is one frame and nothing else,
 * for clients that know nothing of us. It is text where its content type says so, and binary else.
 *
 * Such a client gets no ids and cannot say what it has. But every client answers pings, in order with
 * what it reads. So after pushes it is sent a ping with the newest id, and its pong confirms them.
 */
import { isUtf8 } from 'node:buffer';
import type { Counter } from 'prom-client';
import { isMessageId } from '../../../common/cluster/inbox.js';
import type { Metrics } from '../../../common/process/metrics.js';
import type { Connection } from '../../../common/transport/transport.js';
import { isTextual } from '../content-type.js';
import type { EndReason, Host, Message, Protocol } from '../protocol.js';
import { closing, goawayClosing } from './close-codes.js';
import { type MessageSink, type WebSocketConfig, WebSocketInbound } from './inbound.js';
import { binaryFrame, EMPTY_PING, pingFrame, textFrame } from './writer.js';

export class RawWebSocketProtocol implements Protocol, MessageSink {
  readonly name = 'websocket';
  readonly isEncodingShared = true;
  readonly heartbeat = EMPTY_PING;
  /** There is no frame that would say it. */
  readonly reset = undefined;
  readonly messageBytesMax = 4 * 1024;
  host!: Host;
  readonly #inbound: WebSocketInbound;
  /** Those that were sent a push with an id since they were last asked with a ping. */
  readonly #unasked = new Set<Connection>();
  readonly #ignored: Counter;

  constructor(config: WebSocketConfig, failures: Counter<'code'>, metrics: Metrics) {
    this.#inbound = new WebSocketInbound(config, this, failures);
    this.#ignored = metrics.counter(
      'longline_edge_websocket_messages_ignored_total',
      'Messages of devices over WebSockets without a subprotocol, which nobody reads.',
    );
  }

  begin(connection: Connection): void {
    this.#inbound.begin(connection);
  }

  encodePush(connection: Connection, { id, payload, contentType }: Message): Buffer {
    if (id !== '') this.#unasked.add(connection);
    return isTextual(contentType) && isUtf8(payload) ? textFrame(payload) : binaryFrame(payload);
  }

  encodeGoaway(_: Connection, _retryMs: number, url: string | undefined): Buffer {
    return goawayClosing(url);
  }

  encodeClose(_: Connection, reason: EndReason): Buffer | undefined {
    return closing(reason);
  }

  onBytes(connection: Connection, bytes: Buffer): void {
    this.#inbound.read(connection, bytes);
  }

  onTimer(connection: Connection): void {
    this.host.end(connection, 'silent');
  }

  onClosed(connection: Connection): void {
    this.#unasked.delete(connection);
    this.#inbound.forget(connection);
  }

  sweep(): void {
    this.#inbound.sweep();
    const unasked = [...this.#unasked];
    this.#unasked.clear();
    for (const connection of unasked) {
      const id = this.host.lastSentId(connection);
      if (id !== '') this.host.reply(connection, pingFrame(id));
    }
  }

  /** Clients that send something to be kept alive are many; there is nothing to be told here. */
  onMessage(): undefined {
    this.#ignored.inc();
  }

  onPong(connection: Connection, payload: Buffer): void {
    const id = payload.toString('latin1');
    if (isMessageId(id)) this.host.confirm(connection, id);
  }
}
