/**
 * MQTT over WebSockets (MQTT 5 §6): the same protocol objects, with each packet of the edge in a
 * binary message. Messages of the device carry a stream of bytes; their bounds mean nothing. Keep
 * alive is MQTT's, so the edge sends no pings of its own. The end of a connection is DISCONNECT, as
 * in MQTT, followed by a close frame.
 */
import type { Counter } from 'prom-client';
import type { Connection } from '../../../common/transport/transport.js';
import type { Violation } from '../../../common/wire/websocket/frame.js';
import { mqttMessageBytesMax } from '../../../common/wire/websocket/mqtt-opening.js';
import { binaryFrame, closeFrame } from '../../../common/wire/websocket/writer.js';
import type { EndReason, Host, Message, Protocol, StartFrom } from '../protocol.js';
import { closeFrameOf, goawayFrame } from '../websocket/close-codes.js';
import { type MessageSink, type WebSocketConfig, WebSocketInbound } from '../websocket/inbound.js';
import { MqttProtocol, type MqttProtocolOptions } from './mqtt.js';

/** RFC 6455 §7.4.1 */
const NORMAL = 1000;
const POLICY_VIOLATION = 1008;

const NO_BYTES = Buffer.alloc(0);

export class MqttWebSocketProtocol implements Protocol, MessageSink {
  readonly name: string;
  readonly isEncodingShared = false;
  readonly joinsParts = false;
  /** The device sends the heartbeats, as PINGREQ. */
  readonly heartbeat = undefined;
  readonly messageBytesMax: number;
  /** Host of the frame layer, which has no timer of its own. */
  readonly host: MessageSink['host'];
  readonly mqtt: MqttProtocol;
  readonly #inbound: WebSocketInbound;

  constructor(
    options: MqttProtocolOptions & { config: WebSocketConfig },
    failures: Counter<'code'>,
  ) {
    const { config, host } = options;
    this.mqtt = new MqttProtocol({ ...options, host: new FramedHost(host) });
    this.name = `${this.mqtt.name}-websocket`;
    this.messageBytesMax = mqttMessageBytesMax(config.headBytesMax);
    this.host = {
      reply: (connection, bytes) => host.reply(connection, bytes),
      end: (connection, reason, last) => host.end(connection, reason, last),
      setTimer: () => {},
    };
    this.#inbound = new WebSocketInbound(config, this, failures);
  }

  encodePush(connection: Connection, message: Message): Buffer | undefined {
    const packet = this.mqtt.encodePush(connection, message);
    return packet === undefined ? undefined : inFrame(packet);
  }

  encodeGoaway(connection: Connection, retryMs: number, url: string | undefined): Buffer {
    const packet = this.mqtt.encodeGoaway(connection, retryMs, url);
    return Buffer.concat([inFrame(packet), goawayFrame(url)]);
  }

  encodeClose(connection: Connection, reason: EndReason): Buffer {
    const packet = this.mqtt.encodeClose(connection, reason);
    return Buffer.concat([inFrame(packet), closeFrameOf(reason) ?? closeFrame(NORMAL)]);
  }

  onBytes(connection: Connection, bytes: Buffer): void {
    this.#inbound.read(connection, bytes);
  }

  onMessage(connection: Connection, payload: Buffer, isText: boolean): Violation | undefined {
    // [MQTT-6.0.0-1]
    if (isText) return { closeCode: 1003, reason: 'MQTT needs binary messages' };
    this.mqtt.onBytes(connection, payload);
    return undefined;
  }

  onPong(): void {}

  onSubscribed(connection: Connection): void {
    this.mqtt.onSubscribed(connection);
  }

  onTimer(connection: Connection): void {
    this.mqtt.onTimer(connection);
  }

  onClosed(connection: Connection, clientId: string, reason: EndReason): void {
    this.#inbound.forget(connection);
    this.mqtt.onClosed(connection, clientId, reason);
  }

  sweep(): void {
    this.#inbound.sweep();
    this.mqtt.sweep();
  }
}

/** Puts MQTT packets into frames on their way to the edge. */
class FramedHost implements Host {
  constructor(readonly host: Host) {}

  reply(connection: Connection, bytes: Buffer): void {
    this.host.reply(connection, inFrame(bytes));
  }

  end(connection: Connection, reason: EndReason, last?: Buffer): void {
    if (last === undefined) return this.host.end(connection, reason);
    const bytes = Buffer.concat([inFrame(last), closeFrame(POLICY_VIOLATION)]);
    this.host.end(connection, reason, bytes);
  }

  confirm(connection: Connection, id: string): void {
    this.host.confirm(connection, id);
  }

  confirmSingle(connection: Connection, id: string): void {
    this.host.confirmSingle(connection, id);
  }

  subscribe(connection: Connection, startFrom: StartFrom): void {
    this.host.subscribe(connection, startFrom);
  }

  unsubscribe(connection: Connection): void {
    this.host.unsubscribe(connection);
  }

  resumePushes(connection: Connection): void {
    this.host.resumePushes(connection);
  }

  limitMessages(connection: Connection, bytesMax: number): void {
    this.host.limitMessages(connection, bytesMax);
  }

  renewToken(connection: Connection, token: string): void {
    this.host.renewToken(connection, token);
  }

  setTimer(connection: Connection, afterMs: number): void {
    this.host.setTimer(connection, afterMs);
  }

  clientIdOf(connection: Connection): string {
    return this.host.clientIdOf(connection);
  }

  lastSentId(connection: Connection): string {
    return this.host.lastSentId(connection);
  }
}

/** Returns a binary message; no bytes for no packet. */
export function inFrame(packet: Buffer | undefined): Buffer {
  return packet === undefined || packet.length === 0 ? NO_BYTES : binaryFrame(packet);
}
