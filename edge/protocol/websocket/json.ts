/**
 * WebSockets with the subprotocol `longline.json`: one JSON object per text message in both
 * directions. The device confirms the ids of pushes after processing them.
 */
import type { Counter } from 'prom-client';
import type { Connection } from '../../../common/transport/transport.js';
import type { Violation } from '../../../common/wire/websocket/frame.js';
import { EMPTY_PING, payloadBytes, textFrame } from '../../../common/wire/websocket/writer.js';
import { DEVICE_MESSAGE_BYTES_MAX, parseDeviceMessage } from '../device-message.js';
import { type Envelope, envelopeText, pushText } from '../json-envelope.js';
import type { EndReason, GroupHost, Host, Message, Protocol } from '../protocol.js';
import { closeFrameOf, goawayFrame } from './close-codes.js';
import { type MessageSink, type WebSocketConfig, WebSocketInbound } from './inbound.js';

const PONG = envelopeFrame({ type: 'pong' });
const EXPIRED = Buffer.concat([envelopeFrame({ type: 'expired' }), closeFrameOf('expired')!]);
const REVOKED = Buffer.concat([
  envelopeFrame({ type: 'expired', code: 'TOKEN_REVOKED' }),
  closeFrameOf('revoked')!,
]);
const SESSION_REPLACED = Buffer.concat([
  envelopeFrame({ type: 'session-replaced' }),
  closeFrameOf('session_replaced')!,
]);

export class JsonWebSocketProtocol implements Protocol, MessageSink {
  readonly name = 'websocket-json';
  readonly isEncodingShared = true;
  readonly joinsParts = true;
  readonly heartbeat = EMPTY_PING;
  readonly messageBytesMax = DEVICE_MESSAGE_BYTES_MAX;
  readonly #inbound: WebSocketInbound;

  constructor(
    readonly host: Host,
    config: WebSocketConfig,
    failures: Counter<'code'>,
    readonly groups: Pick<GroupHost, 'join' | 'leave'>,
  ) {
    this.#inbound = new WebSocketInbound(config, this, failures);
  }

  restartTimer(connection: Connection): void {
    this.#inbound.restartTimer(connection);
  }

  encodePush(_: Connection, message: Message): Buffer {
    return textFrame(pushText(message));
  }

  encodeReset(_: Connection, id: string): Buffer {
    return envelopeFrame({ type: 'reset', ...(id !== '' && { id }) });
  }

  encodeGoaway(_: Connection, retryMs: number, url: string | undefined): Buffer {
    return Buffer.concat([envelopeFrame({ type: 'goaway', retryMs, url }), goawayFrame(url)]);
  }

  encodeClose(_: Connection, reason: EndReason): Buffer | undefined {
    if (reason === 'expired') return EXPIRED;
    if (reason === 'revoked') return REVOKED;
    return reason === 'session_replaced' ? SESSION_REPLACED : closeFrameOf(reason);
  }

  encodeTokenExpiring(_: Connection, inMs: number): Buffer {
    return envelopeFrame({ type: 'expiring', inMs });
  }

  encodeTicket(_: Connection, ticket: string): Buffer {
    return envelopeFrame({ type: 'ticket', ticket });
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
    this.#inbound.forget(connection);
  }

  sweep(): void {
    this.#inbound.sweep();
  }

  onMessage(connection: Connection, payload: Buffer, isText: boolean): Violation | undefined {
    if (!isText) return { closeCode: 1003, reason: 'expected JSON in a text message' };
    const message = parseDeviceMessage(payload);
    if ('code' in message) {
      const closeCode = message.code === 'PAYLOAD_TOO_LARGE' ? 1009 : 1008;
      return { closeCode, reason: message.message };
    }
    if (message.type === 'ack') this.host.confirm(connection, message.id);
    else if (message.type === 'ping') this.host.reply(connection, PONG);
    else if (message.type === 'hello') this.host.limitMessages(connection, message.maxBytes);
    else if (message.type === 'token') this.host.renewToken(connection, message.token);
    else void this.#changeGroup(connection, message.type, message.group);
    return undefined;
  }

  async #changeGroup(
    connection: Connection,
    change: 'join' | 'leave',
    group: string,
  ): Promise<void> {
    const rejected = await this.groups[change](connection, group);
    const type = change === 'join' ? 'joined' : 'left';
    const answer: Envelope =
      rejected === undefined
        ? { type, group }
        : { type: 'group-error', group, code: rejected.code, message: rejected.message };
    // Does nothing if the connection has ended meanwhile.
    this.host.reply(connection, envelopeFrame(answer));
  }

  /** Pings only detect dead peers; `ack` confirms pushes. */
  onPong(): void {}
}

export function envelopeFrame(envelope: Envelope): Buffer {
  return textFrame(envelopeText(envelope));
}
