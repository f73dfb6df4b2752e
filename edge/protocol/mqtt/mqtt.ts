/**
 * MQTT 3.1.1 and 5 for devices that only receive: each has one topic, `push/<clientId>`, and gets its
 * pushes when it has subscribed to it by any filter that covers it. A persistent session is the
 * client's inbox and its subscriptions; PUBACK confirms.
 *
 * One object per version serves all its connections. What a connection needs beyond its bytes in
 * `MqttConnectionTable` exists only for as long as it needs it: half a packet, pushes in flight.
 */
import { isIdBefore } from '../../../common/cluster/inbox.js';
import { assertNever } from '../../../common/process/state-machine.js';
import type { Connection } from '../../../common/transport/transport.js';
import { frameMqtt } from '../../../common/wire/mqtt/fields.js';
import {
  MQTT_REASON,
  type MqttFault,
  type MqttReason,
  type MqttVersion,
  protocolError,
} from '../../../common/wire/mqtt/rejection.js';
import type { EndReason, Host, Message, Protocol } from '../protocol.js';
import type { MqttConnectionTable } from './connection-table.js';
import type { MqttCounters } from './counters.js';
import {
  disconnectPacket,
  MQTT_PINGRESP,
  pubackPacket,
  pubcompPacket,
  publishPacket,
  pubrelPacket,
  subackPacket,
  unsubackPacket,
} from './encode.js';
import { type MqttAck, type MqttPacket, parseMqttPacket, type RequestedFilter } from './packet.js';
import type { GrantedQos, MqttSessionStore } from './session-store.js';
import { covers, isSharedFilter, topicOf } from './topic.js';
import type { MqttWindow } from './window.js';

export interface MqttConfig {
  /** Of a packet that is read here. */
  readonly headBytesMax: number;
  /** From the first byte of a packet to its last. */
  readonly headTimeoutMs: number;
}

/** A packet of which some has come. */
interface HalfPacket {
  bytes: Buffer;
  /** The sweep that saw its first bytes. */
  readonly sinceSweep: number;
}

const NOTHING = Buffer.alloc(0);

/** Of a SUBACK or UNSUBACK without its reasons, of which each has a byte. */
const ACK_BYTES = 8;

const TOO_MANY_FILTERS = protocolError(
  'the answer to so many filters is more than the client takes [MQTT-3.1.2-24]',
  MQTT_REASON.packetTooLarge,
);

/** What MQTT 5 says last (§3.14.2.1). Whoever closed or broke the connection is told nothing. */
const FAREWELLS: { readonly [reason in EndReason]?: MqttReason } = {
  session_replaced: MQTT_REASON.sessionTakenOver,
  disconnected: MQTT_REASON.administrativeAction,
  unexpected_bytes: MQTT_REASON.protocolError,
  flooding: MQTT_REASON.messageRateTooHigh,
  expired: MQTT_REASON.notAuthorized,
  silent: MQTT_REASON.keepAliveTimeout,
};

export class MqttProtocol implements Protocol {
  readonly name: string;
  readonly isEncodingShared = false;
  /** The device is the one that beats. */
  readonly heartbeat = undefined;
  /** MQTT has no word for it. */
  readonly reset = undefined;

  host!: Host;

  readonly #partials = new Map<Connection, HalfPacket>();
  /** By connection, a push that needs no PUBACK: it is confirmed as soon as it was written. */
  readonly #settled = new Map<Connection, string>();
  /** SUBACKs of a clean session that wait until it is known which pushes were before. */
  readonly #subacks = new Map<Connection, Buffer[]>();
  #sweeps = 0;

  constructor(
    readonly version: MqttVersion,
    readonly config: MqttConfig,
    readonly connections: MqttConnectionTable,
    readonly sessions: MqttSessionStore,
    readonly counters: MqttCounters,
  ) {
    this.name = version === 4 ? 'mqtt-3.1.1' : 'mqtt-5';
  }

  /**
   * Durable pushes go out with the granted QoS, live-only ones with QoS 0. One that is larger than
   * the device takes counts as delivered [MQTT-3.1.2-25].
   */
  encodePush(connection: Connection, message: Message): Buffer | undefined {
    const { connections, host, version } = this;
    const { id } = message;
    const window = connections.window(connection);
    const isDurable = id !== '';
    // [MQTT-3.3.4-9]
    if (isDurable && window !== undefined && this.#isFull(connection, window)) return undefined;
    const wasSent = isDurable && (window?.goTo(id) ?? false);
    const isAcked = isDurable && connections.qosOf(connection) === 1;
    const packetId = isAcked ? connections.packetId(connection) : 0;
    const topic = topicOf(host.clientIdOf(connection));
    const packet = publishPacket(version, topic, packetId, message, isAcked && wasSent);
    const fits = connections.acceptsPacketSize(connection, packet.length);
    if (!fits) this.counters.pushesTooLarge.inc();
    if (isDurable) this.#track(connection, window, id, isAcked && fits);
    return fits ? packet : NOTHING;
  }

  encodeGoaway(
    connection: Connection,
    _retryMs: number,
    url: string | undefined,
  ): Buffer | undefined {
    if (this.version === 4) return undefined;
    const reason = MQTT_REASON.useAnotherServer;
    const packet = disconnectPacket(reason, url === undefined ? undefined : addressOf(url));
    return this.connections.acceptsPacketSize(connection, packet.length)
      ? packet
      : disconnectPacket(reason);
  }

  encodeClose(_: Connection, reason: EndReason): Buffer | undefined {
    const code = FAREWELLS[reason];
    return this.version === 4 || code === undefined ? undefined : disconnectPacket(code);
  }

  onBytes(connection: Connection, bytes: Buffer): void {
    const partial = this.#partials.get(connection);
    const all = partial === undefined ? bytes : Buffer.concat([partial.bytes, bytes]);
    const replies: Buffer[] = [];
    let at = 0;
    while (at < all.length) {
      const frame = frameMqtt(all, at, this.config.headBytesMax);
      if (frame === 'more') break;
      if ('code' in frame) return this.#fail(connection, frame, replies);
      const packet = parseMqttPacket(all[at]!, all, frame, this.version);
      const fault = 'code' in packet ? packet : this.#handle(connection, packet, replies);
      if (fault === 'ended') return;
      if (fault !== undefined) return this.#fail(connection, fault, replies);
      at = frame.end;
    }
    this.#keep(connection, partial, all, at);
    if (at > 0) {
      // [MQTT-3.1.2-22]: only a whole packet is a sign of life.
      this.host.setTimer(connection, this.connections.keepAliveSeconds(connection) * 1500);
    }
    if (replies.length > 0) this.host.reply(connection, Buffer.concat(replies));
  }

  onSubscribed(connection: Connection): void {
    const subacks = this.#takeSubacks(connection);
    if (subacks.length > 0) this.host.reply(connection, Buffer.concat(subacks));
  }

  onTimer(connection: Connection): void {
    this.host.end(connection, 'silent');
  }

  onClosed(connection: Connection, clientId: string, reason: EndReason): void {
    const { connections } = this;
    this.#partials.delete(connection);
    this.#settled.delete(connection);
    this.#subacks.delete(connection);
    const expirySeconds = connections.sessionExpirySeconds(connection);
    const isStored = expirySeconds > 0 || !connections.isClean(connection);
    // Whoever took it over has the session now.
    if (reason === 'session_replaced') connections.handOver(connection, clientId);
    else if (isStored) {
      this.sessions.expire(clientId, expirySeconds, connections.inFlight(connection));
    }
    connections.forget(connection);
  }

  sweep(): void {
    this.#sweeps++;
    const oldest = this.#sweeps - Math.ceil(this.config.headTimeoutMs / 1000);
    for (const [connection, { sinceSweep }] of this.#partials) {
      if (sinceSweep < oldest) this.host.end(connection, 'silent');
    }
    this.#confirmSettled();
  }

  /** Returns what is wrong, or that the connection has ended. */
  #handle(
    connection: Connection,
    packet: MqttPacket,
    replies: Buffer[],
  ): MqttFault | 'ended' | undefined {
    switch (packet.type) {
      case 'puback':
        this.#ack(connection, packet.packetId);
        return undefined;
      case 'pubrec':
      case 'pubrel':
      case 'pubcomp':
        return this.#rejectQos2(connection, packet, replies);
      case 'pingreq':
        replies.push(MQTT_PINGRESP); // [MQTT-3.12.4-1]
        return undefined;
      case 'subscribe':
        if (!this.#canAnswer(connection, packet.filters.length)) return TOO_MANY_FILTERS;
        this.#subscribe(connection, packet.packetId, packet.filters, replies);
        return undefined;
      case 'unsubscribe':
        if (!this.#canAnswer(connection, packet.filters.length)) return TOO_MANY_FILTERS;
        this.#unsubscribe(connection, packet.packetId, packet.filters, replies);
        return undefined;
      case 'publish':
        return this.#rejectPublish(packet.packetId, replies);
      case 'disconnect':
        return this.#disconnect(connection, packet.sessionExpirySeconds);
      default:
        return assertNever(packet);
    }
  }

  /** [MQTT-3.1.2-24] */
  #canAnswer(connection: Connection, filters: number): boolean {
    return this.connections.acceptsPacketSize(connection, ACK_BYTES + filters);
  }

  #ack(connection: Connection, packetId: number): void {
    const window = this.connections.window(connection);
    const wasFull = window !== undefined && this.#isFull(connection, window);
    if (window === undefined || !window.ack(packetId)) {
      // Late, twice, or made up: it confirms nothing.
      this.counters.ignored.inc({ packet: 'puback' });
      return;
    }
    const confirmed = window.settle();
    if (window.isEmpty) this.connections.closeWindow(connection);
    if (confirmed !== '') this.host.confirm(connection, confirmed);
    if (wasFull && !this.#isFull(connection, window)) this.host.resumePushes(connection);
  }

  /**
   * Nothing is ever sent or taken with QoS 2, but a client may go on with what it began elsewhere:
   * each half of such an exchange gets its other half (§3.5, §3.6), and so it ends.
   */
  #rejectQos2(
    connection: Connection,
    { type, packetId, reason }: MqttAck,
    replies: Buffer[],
  ): MqttFault | undefined {
    if (type !== 'pubrel' && this.connections.window(connection)?.has(packetId)) {
      return protocolError('only a PUBACK answers a push of QoS 1 [MQTT-4.3.2-4]');
    }
    this.counters.ignored.inc({ packet: type });
    if (type === 'pubrel') replies.push(pubcompPacket(this.version, packetId));
    else if (type === 'pubrec' && reason < MQTT_REASON.unspecifiedError) {
      replies.push(pubrelPacket(this.version, packetId));
    }
    return undefined;
  }

  #subscribe(
    connection: Connection,
    packetId: number,
    filters: readonly RequestedFilter[],
    replies: Buffer[],
  ): void {
    const { connections, host } = this;
    const wasSubscribed = connections.qosOf(connection) !== undefined;
    const topic = topicOf(host.clientIdOf(connection));
    const reasons = filters.map((asked) => this.#grant(connection, topic, asked));
    if (reasons.some((reason) => reason < MQTT_REASON.unspecifiedError)) {
      this.#store(connection);
      if (!wasSubscribed) this.#listen(connection);
    }
    const suback = subackPacket(this.version, packetId, reasons);
    (this.#subacks.get(connection) ?? replies).push(suback);
  }

  /** Whoever has a SUBACK gets everything that is pushed afterwards. */
  #listen(connection: Connection): void {
    const isClean = this.connections.isClean(connection);
    if (isClean) this.#subacks.set(connection, []);
    this.host.subscribe(connection, isClean ? 'now' : 'unconfirmed');
  }

  /** The reason code of one filter [MQTT-3.8.4-6]. 3.1.1 has only one for all that fails. */
  #grant(connection: Connection, topic: string, { filter, qos }: RequestedFilter): number {
    const granted: GrantedQos = qos === 0 ? 0 : 1;
    let reason: number = granted;
    if (!covers(filter, topic)) {
      reason = isSharedFilter(filter)
        ? MQTT_REASON.sharedSubscriptionsNotSupported
        : MQTT_REASON.topicFilterInvalid;
    } else if (!this.connections.subscribe(connection, filter, granted)) {
      reason = MQTT_REASON.quotaExceeded;
    }
    return this.version === 4 && reason > 1 ? MQTT_REASON.unspecifiedError : reason;
  }

  #unsubscribe(
    connection: Connection,
    packetId: number,
    filters: readonly string[],
    replies: Buffer[],
  ): void {
    const { connections } = this;
    const reasons = filters.map((filter) =>
      connections.unsubscribe(connection, filter)
        ? MQTT_REASON.success
        : MQTT_REASON.noSubscriptionExisted,
    );
    if (reasons.includes(MQTT_REASON.success)) {
      this.#store(connection);
      if (connections.qosOf(connection) === undefined) this.#unlisten(connection, replies);
    }
    replies.push(unsubackPacket(this.version, packetId, reasons));
  }

  #unlisten(connection: Connection, replies: Buffer[]): void {
    const { connections, host } = this;
    host.unsubscribe(connection);
    replies.push(...this.#takeSubacks(connection));
    // Those that waited for room in the send buffer are not coming any more.
    const lastSentId = host.lastSentId(connection);
    connections.window(connection)?.forget((id) => lastSentId === '' || isIdBefore(lastSentId, id));
  }

  #takeSubacks(connection: Connection): readonly Buffer[] {
    const subacks = this.#subacks.get(connection) ?? [];
    this.#subacks.delete(connection);
    return subacks;
  }

  #store(connection: Connection): void {
    const { connections, host, sessions } = this;
    if (connections.sessionExpirySeconds(connection) === 0) return;
    sessions.store(host.clientIdOf(connection), connections.subscriptionsOf(connection));
  }

  /** [MQTT-3.3.5-2] of 3.1.1: a connection of 3.1.1 has to be closed, one of MQTT 5 need not. */
  #rejectPublish(packetId: number, replies: Buffer[]): MqttFault | undefined {
    const reason = MQTT_REASON.notAuthorized;
    if (this.version === 4 || packetId === 0) {
      return { code: 'PERMISSION_DENIED', message: 'devices do not publish here', reason };
    }
    this.counters.ignored.inc({ packet: 'publish' });
    replies.push(pubackPacket(packetId, reason));
    return undefined;
  }

  #disconnect(connection: Connection, expirySeconds: number | undefined): MqttFault | 'ended' {
    if (expirySeconds !== undefined) {
      if (expirySeconds > 0 && this.connections.sessionExpirySeconds(connection) === 0) {
        return protocolError('a session that was to end cannot be kept (§3.14.2.2.2)');
      }
      this.connections.setSessionExpirySeconds(connection, expirySeconds);
    }
    this.host.end(connection, 'peer');
    return 'ended';
  }

  /** §4.13.1. In 3.1.1 the connection is closed without a word. */
  #fail(connection: Connection, { reason }: MqttFault, replies: readonly Buffer[]): void {
    const last = this.version === 5 ? [...replies, disconnectPacket(reason)] : replies;
    this.host.end(connection, 'unexpected_bytes', Buffer.concat(last));
  }

  /** Keeps what has come of the next packet. */
  #keep(connection: Connection, partial: HalfPacket | undefined, all: Buffer, at: number): void {
    if (at === all.length) {
      if (partial !== undefined) this.#partials.delete(connection);
    } else if (partial !== undefined && at === 0) {
      partial.bytes = all;
    } else {
      // Not the transport's buffer, nor more of it than this packet. Deleted first: oldest first.
      this.#partials.delete(connection);
      const bytes = Buffer.from(all.subarray(at));
      this.#partials.set(connection, { bytes, sinceSweep: this.#sweeps });
    }
  }

  #isFull(connection: Connection, window: MqttWindow): boolean {
    return window.size >= this.connections.inFlightMax(connection);
  }

  /** @param isAwaited the device has to confirm it */
  #track(
    connection: Connection,
    window: MqttWindow | undefined,
    id: string,
    isAwaited: boolean,
  ): void {
    if (isAwaited) {
      this.connections.openWindow(connection).add(id);
    } else if (window !== undefined && window.size > 0) {
      window.pass(id);
    } else {
      if (this.#settled.size === 0) setImmediate(() => this.#confirmSettled());
      this.#settled.set(connection, id);
    }
  }

  /** Those that are not written yet, because the send buffer is full, wait for the next sweep. */
  #confirmSettled(): void {
    for (const [connection, id] of this.#settled) {
      const lastSentId = this.host.lastSentId(connection);
      if (lastSentId === '' || isIdBefore(lastSentId, id)) continue;
      this.#settled.delete(connection);
      this.host.confirm(connection, id);
    }
  }
}

/** `host:port`, as a Server Reference is commonly written (§4.11). */
function addressOf(url: string): string {
  const { hostname, port, protocol } = new URL(url);
  return `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`;
}
