/**
 * MQTT 3.1.1 and 5 for devices that only receive. Each has one topic, `push/<clientId>`, and gets
 * its pushes while it is subscribed with any filter that covers the topic. A persistent session is
 * the client's inbox plus its subscriptions; PUBACK confirms a push (`delivery.ts`). MQTT cannot
 * express a gap, so there is no `encodeReset`.
 *
 * One object per version serves all its connections. State beyond the bytes in
 * `MqttConnectionTable` exists only while needed: an incomplete packet, pushes in flight.
 */
import { assertNever } from '../../../common/process/state-machine.js';
import type { Connection } from '../../../common/transport/transport.js';
import type { MqttConnect } from '../../../common/wire/mqtt/connect.js';
import { frameMqtt } from '../../../common/wire/mqtt/fields.js';
import {
  MQTT_REASON,
  type MqttFault,
  type MqttReason,
  type MqttVersion,
  protocolError,
} from '../../../common/wire/mqtt/rejection.js';
import type { EndReason, GroupHost, Host, Message, Protocol } from '../protocol.js';
import type { MqttConnectionTable } from './connection-table.js';
import type { MqttCounters } from './counters.js';
import { MqttDelivery } from './delivery.js';
import {
  disconnectPacket,
  MQTT_PINGRESP,
  pubcompPacket,
  pubrelPacket,
  receiptPacket,
  subackPacket,
  unsubackPacket,
} from './encode.js';
import { isGroupFilter, joinByFilter, leaveByFilter } from './group-filters.js';
import {
  type MqttAck,
  type MqttPacket,
  type MqttPublish,
  parseMqttPacket,
  type RequestedFilter,
} from './packet.js';
import type { GrantedQos, MqttSession, MqttSessionStore } from './session-store.js';
import { covers, isSharedFilter, topicOf } from './topic.js';

export interface MqttConfig {
  /** Maximum size of an inbound packet. */
  readonly headBytesMax: number;
  /** Maximum time from the first byte of a packet to its last. */
  readonly headTimeoutMs: number;
  /** Time after which an unacknowledged push does not stop others any more. */
  readonly mqttAckTimeoutMs: number;
  /** Treatment of a PUBLISH, which this server never forwards. */
  readonly mqttPublishes: 'reject' | 'ignore';
}

/** An incomplete packet. */
interface PartialPacket {
  bytes: Buffer;
  /** Value of `#sweeps` when its first bytes arrived. */
  readonly sinceSweep: number;
}

type MqttDisconnect = Extract<MqttPacket, { type: 'disconnect' }>;

/** Maximum SUBACK or UNSUBACK without its reason codes of one byte each. */
const ACK_BYTES = 8;

const TOO_MANY_FILTERS = protocolError(
  'the SUBACK for so many filters exceeds Maximum Packet Size [MQTT-3.1.2-24]',
  MQTT_REASON.packetTooLarge,
);

/** Reason codes of the final DISCONNECT (§3.14.2.1); none if the peer closed the connection. */
const DISCONNECT_REASONS: { readonly [reason in EndReason]?: MqttReason } = {
  session_replaced: MQTT_REASON.sessionTakenOver,
  disconnected: MQTT_REASON.administrativeAction,
  unexpected_bytes: MQTT_REASON.protocolError,
  flooding: MQTT_REASON.messageRateTooHigh,
  expired: MQTT_REASON.notAuthorized,
  revoked: MQTT_REASON.notAuthorized,
  silent: MQTT_REASON.keepAliveTimeout,
};

export interface MqttProtocolOptions {
  readonly version: MqttVersion;
  readonly host: Host;
  readonly groups: GroupHost;
  readonly config: MqttConfig;
  readonly connections: MqttConnectionTable;
  readonly sessions: MqttSessionStore;
  readonly counters: MqttCounters;
}

export class MqttProtocol implements Protocol {
  readonly version: MqttVersion;
  readonly name: string;
  readonly host: Host;
  readonly groups: GroupHost;
  readonly config: MqttConfig;
  readonly connections: MqttConnectionTable;
  readonly sessions: MqttSessionStore;
  readonly counters: MqttCounters;
  readonly isEncodingShared = false;
  /** Each has a packet identifier, with which a later connection sends it again. */
  readonly joinsParts = false;
  /** The device sends the heartbeats, as PINGREQ. */
  readonly heartbeat = undefined;

  readonly #delivery: MqttDelivery;
  readonly #partials = new Map<Connection, PartialPacket>();
  /** SUBACKs of clean sessions, held back until delivery has started. */
  readonly #subacks = new Map<Connection, Buffer[]>();
  #sweeps = 0;

  constructor(options: MqttProtocolOptions) {
    this.version = options.version;
    this.name = options.version === 4 ? 'mqtt-3.1.1' : 'mqtt-5';
    this.host = options.host;
    this.groups = options.groups;
    this.config = options.config;
    this.connections = options.connections;
    this.sessions = options.sessions;
    this.counters = options.counters;
    this.#delivery = new MqttDelivery(options);
  }

  /** Registers a connection. It has negotiated `keepAliveSeconds`. */
  register(
    connection: Connection,
    connect: MqttConnect,
    keepAliveSeconds: number,
    session: MqttSession,
  ): void {
    const inFlight = this.connections.add(connection, connect, keepAliveSeconds, session);
    this.#delivery.resume(connection, inFlight);
  }

  encodePush(connection: Connection, message: Message): Buffer | undefined {
    return this.#delivery.encode(connection, message);
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
    const code = DISCONNECT_REASONS[reason];
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
    this.#storePartial(connection, partial, all, at);
    if (at > 0) {
      // Only a complete packet restarts the timeout [MQTT-3.1.2-22].
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
    const inFlight = this.#delivery.inFlight(connection);
    this.#delivery.forget(connection);
    this.#partials.delete(connection);
    this.#subacks.delete(connection);
    const expirySeconds = connections.sessionExpirySeconds(connection);
    const isStored = expirySeconds > 0 || !connections.isClean(connection);
    // The newer connection has the session now.
    if (reason === 'session_replaced') connections.handOver(clientId, inFlight);
    else if (isStored) this.sessions.expire(clientId, expirySeconds, inFlight);
    connections.forget(connection);
  }

  sweep(): void {
    this.#sweeps++;
    const oldest = this.#sweeps - Math.ceil(this.config.headTimeoutMs / 1000);
    for (const [connection, { sinceSweep }] of this.#partials) {
      if (sinceSweep < oldest) this.host.end(connection, 'silent');
    }
    this.#delivery.sweep();
  }

  /** Returns a fault that fails the connection, or 'ended' if it has ended. */
  #handle(
    connection: Connection,
    packet: MqttPacket,
    replies: Buffer[],
  ): MqttFault | 'ended' | undefined {
    switch (packet.type) {
      case 'puback':
        this.#delivery.acknowledge(connection, packet.packetId);
        return undefined;
      case 'pubrec':
      case 'pubrel':
      case 'pubcomp':
        return this.#completeQos2(connection, packet, replies);
      case 'pingreq':
        replies.push(MQTT_PINGRESP); // [MQTT-3.12.4-1]
        return undefined;
      case 'subscribe':
        if (!this.#canAcknowledge(connection, packet.filters.length)) return TOO_MANY_FILTERS;
        this.#handleSubscribe(connection, packet.packetId, packet.filters, replies);
        return undefined;
      case 'unsubscribe':
        if (!this.#canAcknowledge(connection, packet.filters.length)) return TOO_MANY_FILTERS;
        this.#handleUnsubscribe(connection, packet.packetId, packet.filters, replies);
        return undefined;
      case 'publish':
        return this.#handlePublish(packet, replies);
      case 'disconnect':
        return this.#handleDisconnect(connection, packet);
      default:
        return assertNever(packet);
    }
  }

  /** Whether the SUBACK or UNSUBACK is within Maximum Packet Size [MQTT-3.1.2-24]. */
  #canAcknowledge(connection: Connection, filters: number): boolean {
    return this.connections.acceptsPacketSize(connection, ACK_BYTES + filters);
  }

  /**
   * Completes QoS 2 exchanges. This server neither sends nor accepts QoS 2, but a client may resume
   * an exchange that it began with another server: each packet gets its response (§3.5, §3.6).
   */
  #completeQos2(
    connection: Connection,
    { type, packetId, reason }: MqttAck,
    replies: Buffer[],
  ): MqttFault | undefined {
    if (type !== 'pubrel' && this.#delivery.isInFlight(connection, packetId)) {
      return protocolError('a QoS 1 push must be acknowledged with PUBACK [MQTT-4.3.2-4]');
    }
    this.counters.ignored.inc({ packet: type });
    if (type === 'pubrel') replies.push(pubcompPacket(this.version, packetId));
    else if (type === 'pubrec' && reason < MQTT_REASON.unspecifiedError) {
      replies.push(pubrelPacket(this.version, packetId));
    }
    return undefined;
  }

  #handleSubscribe(
    connection: Connection,
    packetId: number,
    filters: readonly RequestedFilter[],
    replies: Buffer[],
  ): void {
    const { connections, host } = this;
    const wasSubscribed = connections.qosOf(connection) !== undefined;
    const topic = topicOf(host.clientIdOf(connection));
    const own = filters.filter(({ filter }) => !isGroupFilter(filter));
    const reasons = new Map(own.map((each) => [each, this.#grant(connection, topic, each)]));
    if ([...reasons.values()].some((reason) => reason < MQTT_REASON.unspecifiedError)) {
      this.#storeSubscriptions(connection);
      if (!wasSubscribed) this.#startDelivery(connection);
    }
    if (own.length < filters.length) {
      return void this.#joinGroups(connection, packetId, filters, reasons);
    }
    const suback = subackPacket(this.version, packetId, [...reasons.values()]);
    (this.#subacks.get(connection) ?? replies).push(suback);
  }

  /** @param known reason codes of the filters that are not of groups */
  async #joinGroups(
    connection: Connection,
    packetId: number,
    filters: readonly RequestedFilter[],
    known: ReadonlyMap<RequestedFilter, number>,
  ): Promise<void> {
    const reasons = await Promise.all(
      filters.map(async (requested) => {
        const reason = known.get(requested);
        if (reason !== undefined) return reason;
        const { filter, qos } = requested;
        return this.#failureOf(
          await joinByFilter(this.groups, connection, filter, qos === 0 ? 0 : 1),
        );
      }),
    );
    const suback = subackPacket(this.version, packetId, reasons);
    const held = this.#subacks.get(connection);
    if (held === undefined) this.host.reply(connection, suback);
    else held.push(suback);
  }

  /**
   * The SUBACK promises every later push. A clean session starts with the next push, so its SUBACK
   * must wait until delivery has started.
   */
  #startDelivery(connection: Connection): void {
    const isClean = this.connections.isClean(connection);
    if (isClean) this.#subacks.set(connection, []);
    this.host.subscribe(connection, isClean ? 'now' : 'unconfirmed');
  }

  /** Subscribes and returns the reason code [MQTT-3.8.4-6]. */
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
    return this.#failureOf(reason);
  }

  /** 3.1.1 has one code for all failures. */
  #failureOf(reason: number): number {
    return this.version === 4 && reason > 1 ? MQTT_REASON.unspecifiedError : reason;
  }

  #handleUnsubscribe(
    connection: Connection,
    packetId: number,
    filters: readonly string[],
    replies: Buffer[],
  ): void {
    const { connections } = this;
    const reasons = filters.map((filter) => {
      if (isGroupFilter(filter)) return leaveByFilter(this.groups, connection, filter);
      return connections.unsubscribe(connection, filter)
        ? MQTT_REASON.success
        : MQTT_REASON.noSubscriptionExisted;
    });
    if (reasons.includes(MQTT_REASON.success)) {
      this.#storeSubscriptions(connection);
      if (connections.qosOf(connection) === undefined) this.#stopDelivery(connection, replies);
    }
    const unsuback = (all: readonly number[]) => unsubackPacket(this.version, packetId, all);
    if (filters.some(isGroupFilter)) {
      void Promise.all(reasons).then((all) => this.host.reply(connection, unsuback(all)));
    } else replies.push(unsuback(reasons as number[]));
  }

  #stopDelivery(connection: Connection, replies: Buffer[]): void {
    this.host.unsubscribe(connection);
    replies.push(...this.#takeSubacks(connection));
    this.#delivery.stop(connection);
  }

  #takeSubacks(connection: Connection): readonly Buffer[] {
    const subacks = this.#subacks.get(connection) ?? [];
    this.#subacks.delete(connection);
    return subacks;
  }

  #storeSubscriptions(connection: Connection): void {
    const { connections, host, sessions } = this;
    if (connections.sessionExpirySeconds(connection) === 0) return;
    sessions.store(host.clientIdOf(connection), connections.subscriptionsOf(connection));
  }

  /**
   * MQTT 5 can reject a single message of QoS 1. Otherwise the connection fails, or the message is
   * dropped: 3.1.1 acknowledges it then as if it was accepted ([MQTT-3.3.5-2] of 3.1.1).
   */
  #handlePublish(
    { packetId, qos, unsupported }: MqttPublish,
    replies: Buffer[],
  ): MqttFault | undefined {
    const { version } = this;
    const reason = MQTT_REASON.notAuthorized;
    const isRejectable = version === 5 && qos === 1 && unsupported === undefined;
    if (this.config.mqttPublishes === 'reject' && !isRejectable) {
      const message = 'devices cannot publish; subscribe to push/<clientId>';
      return unsupported ?? { code: 'PERMISSION_DENIED', message, reason };
    }
    this.counters.ignored.inc({ packet: 'publish' });
    if (qos > 0) replies.push(receiptPacket(version, qos, packetId, reason));
    return undefined;
  }

  #handleDisconnect(
    connection: Connection,
    { reason, sessionExpirySeconds: expirySeconds }: MqttDisconnect,
  ): MqttFault | 'ended' {
    if (expirySeconds !== undefined) {
      if (expirySeconds > 0 && this.connections.sessionExpirySeconds(connection) === 0) {
        return protocolError('session expiry cannot change from zero (§3.14.2.2.2)');
      }
      this.connections.setSessionExpirySeconds(connection, expirySeconds);
    }
    const isTooLarge = reason === MQTT_REASON.packetTooLarge;
    this.host.end(connection, isTooLarge ? 'push_too_large' : 'peer');
    return 'ended';
  }

  /** Fails the connection (§4.13.1). 3.1.1 closes it without a packet. */
  #fail(connection: Connection, { reason }: MqttFault, replies: readonly Buffer[]): void {
    const last = this.version === 5 ? [...replies, disconnectPacket(reason)] : replies;
    this.host.end(connection, 'unexpected_bytes', Buffer.concat(last));
  }

  /** Keeps the bytes of an incomplete packet. */
  #storePartial(
    connection: Connection,
    partial: PartialPacket | undefined,
    all: Buffer,
    at: number,
  ): void {
    if (at === all.length) {
      if (partial !== undefined) this.#partials.delete(connection);
    } else if (partial !== undefined && at === 0) {
      partial.bytes = all;
    } else {
      // A copy of this packet only: the transport reuses its buffer. Deleted first, to keep the map
      // oldest first.
      this.#partials.delete(connection);
      const bytes = Buffer.from(all.subarray(at));
      this.#partials.set(connection, { bytes, sinceSweep: this.#sweeps });
    }
  }
}

/** Server Reference in its usual form, `host:port` (§4.11). */
function addressOf(url: string): string {
  const { hostname, port, protocol } = new URL(url);
  return `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`;
}
