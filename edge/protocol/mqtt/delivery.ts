/**
 * Delivery of pushes to MQTT devices: encodes them, keeps the in-flight windows, and confirms what
 * was acknowledged. An acknowledgement confirms everything up to its push if nothing older is
 * unacknowledged, otherwise only this push, so that it is never sent again.
 */
import { isIdBefore } from '../../../common/cluster/inbox.js';
import type { Connection } from '../../../common/transport/transport.js';
import type { MqttVersion } from '../../../common/wire/mqtt/rejection.js';
import type { Host, Message } from '../protocol.js';
import type { MqttConnectionTable } from './connection-table.js';
import type { MqttCounters } from './counters.js';
import { publishPacket } from './encode.js';
import { topicOf } from './topic.js';
import { MqttWindow, type PushInFlight } from './window.js';

/** Pushes in flight per connection, unless the client's Receive Maximum is lower. */
export const IN_FLIGHT_MAX = 32;
/** Maximum unacknowledged pushes per connection that are set aside, beside those in flight. */
export const ASIDE_MAX = 96;

const NO_BYTES = Buffer.alloc(0);

export interface MqttDeliveryOptions {
  readonly version: MqttVersion;
  readonly host: Host;
  readonly config: {
    /** Time after which an unacknowledged push is set aside. */
    readonly mqttAckTimeoutMs: number;
  };
  readonly connections: MqttConnectionTable;
  readonly counters: MqttCounters;
}

const NONE: readonly PushInFlight[] = [];

export class MqttDelivery {
  readonly #windows = new Map<Connection, MqttWindow>();
  /** Pushes that need no PUBACK, oldest first: confirmed as soon as they are written. */
  readonly #confirmOnWrite = new Map<Connection, string[]>();

  constructor(readonly options: MqttDeliveryOptions) {}

  /** Starts a connection with pushes of an earlier one of its session. */
  resume(connection: Connection, inFlight: readonly PushInFlight[]): void {
    if (inFlight.length > 0) this.#windows.set(connection, new MqttWindow(inFlight));
  }

  /** Pushes that the next connection of the session must resend. */
  inFlight(connection: Connection): readonly PushInFlight[] {
    return this.#windows.get(connection)?.inFlight ?? NONE;
  }

  /** Whether a packet identifier is in use on the connection. */
  isInFlight(connection: Connection, packetId: number): boolean {
    return this.#windows.get(connection)?.has(packetId) ?? false;
  }

  /**
   * Durable pushes have the granted QoS, live-only ones QoS 0. A push that exceeds the client's
   * Maximum Packet Size counts as delivered [MQTT-3.1.2-25].
   */
  encode(connection: Connection, message: Message): Buffer | undefined {
    const { connections, counters, host, version } = this.options;
    const { id } = message;
    const window = this.#windows.get(connection);
    const isDurable = id !== '';
    // [MQTT-3.3.4-9]
    if (isDurable && window !== undefined && this.#isFull(connection, window)) return undefined;
    const resent = isDurable ? window?.takeResend(id) : undefined;
    const isAcked = isDurable && connections.qosOf(connection) === 1;
    const packetId = isAcked ? (resent ?? this.#nextPacketId(connection, window)) : 0;
    const topic = topicOf(host.clientIdOf(connection));
    const isResent = isAcked && resent !== undefined;
    const packet = publishPacket(version, topic, packetId, message, isResent);
    const fits = connections.acceptsPacketSize(connection, packet.length);
    if (!fits) counters.pushesTooLarge.inc();
    if (isAcked && fits) {
      const nowMs = performance.now();
      const opened = window ?? new MqttWindow(NONE);
      if (window === undefined) this.#windows.set(connection, opened);
      opened.add(packetId, id, nowMs, nowMs + message.ttlMs);
    } else if (isDurable) {
      this.#addConfirmOnWrite(connection, id);
    }
    return fits ? packet : NO_BYTES;
  }

  acknowledge(connection: Connection, packetId: number): void {
    const { host, counters } = this.options;
    const window = this.#windows.get(connection);
    const wasFull = window !== undefined && this.#isFull(connection, window);
    const acked = window?.ack(packetId);
    if (window?.isEmpty) this.#windows.delete(connection);
    if (acked === undefined) {
      // A late, duplicate or invented PUBACK confirms nothing.
      counters.ignored.inc({ packet: 'puback' });
    } else if (acked.isOldest) {
      host.confirm(connection, acked.id);
    } else {
      host.confirmSingle(connection, acked.id);
    }
    if (wasFull && !this.#isFull(connection, window)) host.resumePushes(connection);
  }

  /** Forgets pushes that waited for space in the send buffer: they will not be written any more. */
  stop(connection: Connection): void {
    const lastSentId = this.options.host.lastSentId(connection);
    const isUnwritten = (id: string) => lastSentId === '' || isIdBefore(lastSentId, id);
    this.#windows.get(connection)?.dropUnwritten(isUnwritten);
  }

  forget(connection: Connection): void {
    this.#windows.delete(connection);
    this.#confirmOnWrite.delete(connection);
  }

  /**
   * Handles pushes that stay unacknowledged, so that those behind them are delivered. Call about
   * once a second.
   */
  sweep(): void {
    const { config, counters, host } = this.options;
    const nowMs = performance.now();
    const sentBeforeMs = nowMs - config.mqttAckTimeoutMs;
    for (const [connection, window] of this.#windows) {
      const { setAside, expired } = window.sweep(nowMs, sentBeforeMs, ASIDE_MAX);
      if (window.isEmpty) this.#windows.delete(connection);
      if (setAside + expired === 0) continue;
      counters.unacknowledged.inc({ outcome: 'set_aside' }, setAside);
      counters.unacknowledged.inc({ outcome: 'expired' }, expired);
      if (!this.#isFull(connection, window)) host.resumePushes(connection);
    }
    this.#confirmWritten();
  }

  #nextPacketId(connection: Connection, window: MqttWindow | undefined): number {
    const isInUse = (packetId: number) => window?.has(packetId) ?? false;
    return this.options.connections.takePacketId(connection, isInUse);
  }

  #isFull(connection: Connection, window: MqttWindow): boolean {
    const receiveMax = this.options.connections.receiveMax(connection);
    return window.size >= IN_FLIGHT_MAX || window.unackedCount >= receiveMax;
  }

  #addConfirmOnWrite(connection: Connection, id: string): void {
    if (this.#confirmOnWrite.size === 0) setImmediate(() => this.#confirmWritten());
    const ids = this.#confirmOnWrite.get(connection);
    if (ids === undefined) this.#confirmOnWrite.set(connection, [id]);
    else ids.push(id);
  }

  /** A push that still waits for space in the send buffer is checked again by the next sweep. */
  #confirmWritten(): void {
    const { host } = this.options;
    for (const [connection, ids] of this.#confirmOnWrite) {
      const lastSentId = host.lastSentId(connection);
      const window = this.#windows.get(connection);
      while (ids.length > 0 && lastSentId !== '' && !isIdBefore(lastSentId, ids[0]!)) {
        const id = ids.shift()!;
        if (window === undefined || window.isOldest(id)) host.confirm(connection, id);
        else host.confirmSingle(connection, id);
      }
      if (ids.length === 0) this.#confirmOnWrite.delete(connection);
    }
  }
}
