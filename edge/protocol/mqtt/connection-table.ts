/**
 * State of all MQTT connections: about twenty bytes each, in arrays indexed by slot. Subscriptions
 * after the first, which few connections have, are in a map.
 *
 * A subscription is identified by a hash of its filter, because it is only ever compared with
 * another filter of the same client.
 */
import { crc32 } from 'node:zlib';
import { ensureSlot, FIRST_SLOTS } from '../../../common/transport/slot-arrays.js';
import { type Connection, slotOf } from '../../../common/transport/transport.js';
import type { MqttConnect } from '../../../common/wire/mqtt/connect.js';
import type { GrantedQos, MqttSession, MqttSubscription } from './session-store.js';
import type { PushInFlight } from './window.js';

/** Subscriptions per connection: more than there are filters that cover a topic of two levels. */
export const SUBSCRIPTIONS_MAX = 16;

const PACKET_IDS = 65_535;

/** Value in `#qos` of a connection without subscriptions. */
const NO_SUBSCRIPTION = 2;
/** Set in `#qos` for Clean Start. */
const CLEAN = 0x80;

/** Pushes in flight on a connection that was replaced. */
interface HandedOver {
  readonly clientId: string;
  readonly inFlight: readonly PushInFlight[];
}

export class MqttConnectionTable {
  #keepAliveSeconds = new Uint16Array(FIRST_SLOTS);
  #sessionExpirySeconds = new Uint32Array(FIRST_SLOTS);
  #receiveMax = new Uint16Array(FIRST_SLOTS);
  /** Maximum Packet Size of the client; 0: unlimited. */
  #packetBytesMax = new Uint32Array(FIRST_SLOTS);
  /** Packet identifier of the next push, unless it is in use. */
  #packetIds = new Uint16Array(FIRST_SLOTS);
  /** Filter of the first subscription. */
  #filterHashes = new Uint32Array(FIRST_SLOTS);
  /** QoS of the first subscription, and `CLEAN`. */
  #qos = new Uint8Array(FIRST_SLOTS);
  /** Subscriptions after the first. */
  readonly #more = new Map<Connection, MqttSubscription[]>();
  /** State of the connection that was replaced last. */
  #handedOver: HandedOver | undefined;

  get bytes(): number {
    return this.#arrays().reduce((sum, array) => sum + array.byteLength, 0);
  }

  /**
   * Returns the pushes to resend.
   * @param keepAliveSeconds negotiated value, which may differ from that of CONNECT
   */
  add(
    connection: Connection,
    connect: MqttConnect,
    keepAliveSeconds: number,
    session: MqttSession,
  ): readonly PushInFlight[] {
    const slot = slotOf(connection);
    this.#ensureSlot(slot);
    this.#keepAliveSeconds[slot] = keepAliveSeconds;
    this.#sessionExpirySeconds[slot] = connect.sessionExpirySeconds;
    this.#receiveMax[slot] = connect.receiveMax;
    this.#packetBytesMax[slot] = Number.isFinite(connect.packetBytesMax)
      ? connect.packetBytesMax
      : 0;
    const inFlight = this.#resumedInFlight(connect.clientId, session);
    this.#packetIds[slot] = packetIdAfter(inFlight.at(-1)?.packetId ?? 0);
    this.#qos[slot] = connect.isClean ? CLEAN : 0;
    this.#setSubscriptions(connection, session.subscriptions);
    return inFlight;
  }

  /** Keeps the pushes in flight for the connection that replaces theirs, which is added next. */
  handOver(clientId: string, inFlight: readonly PushInFlight[]): void {
    this.#handedOver = { clientId, inFlight };
  }

  forget(connection: Connection): void {
    this.#more.delete(connection);
  }

  keepAliveSeconds(connection: Connection): number {
    return this.#keepAliveSeconds[slotOf(connection)]!;
  }

  isClean(connection: Connection): boolean {
    return (this.#qos[slotOf(connection)]! & CLEAN) !== 0;
  }

  sessionExpirySeconds(connection: Connection): number {
    return this.#sessionExpirySeconds[slotOf(connection)]!;
  }

  setSessionExpirySeconds(connection: Connection, seconds: number): void {
    this.#sessionExpirySeconds[slotOf(connection)] = seconds;
  }

  receiveMax(connection: Connection): number {
    return this.#receiveMax[slotOf(connection)]!;
  }

  /** Whether a packet is within the client's Maximum Packet Size. */
  acceptsPacketSize(connection: Connection, packetBytes: number): boolean {
    const bytesMax = this.#packetBytesMax[slotOf(connection)]!;
    return bytesMax === 0 || packetBytes <= bytesMax;
  }

  /** Returns the next packet identifier that is not in use [MQTT-2.2.1-3]. */
  takePacketId(connection: Connection, isInUse: (packetId: number) => boolean): number {
    const slot = slotOf(connection);
    let packetId = this.#packetIds[slot]!;
    while (isInUse(packetId)) packetId = packetIdAfter(packetId);
    this.#packetIds[slot] = packetIdAfter(packetId);
    return packetId;
  }

  /** Highest QoS of all subscriptions [MQTT-3.3.4-2]; undefined if there are none. */
  qosOf(connection: Connection): GrantedQos | undefined {
    const qos = this.#qos[slotOf(connection)]! & ~CLEAN;
    if (qos === NO_SUBSCRIPTION) return undefined;
    return qos === 1 || this.#more.get(connection)?.some((other) => other.qos === 1) ? 1 : 0;
  }

  subscriptionsOf(connection: Connection): readonly MqttSubscription[] {
    const slot = slotOf(connection);
    const qos = this.#qos[slot]! & ~CLEAN;
    if (qos === NO_SUBSCRIPTION) return [];
    const first = { filterHash: this.#filterHashes[slot]!, qos: qos as GrantedQos };
    return [first, ...(this.#more.get(connection) ?? [])];
  }

  /**
   * Adds a subscription, or replaces that with the same filter [MQTT-3.8.4-3].
   * @returns false if the connection has `SUBSCRIPTIONS_MAX` others
   */
  subscribe(connection: Connection, filter: string, qos: GrantedQos): boolean {
    const filterHash = crc32(filter);
    const others = this.subscriptionsOf(connection).filter(
      (subscription) => subscription.filterHash !== filterHash,
    );
    if (others.length >= SUBSCRIPTIONS_MAX) return false;
    this.#setSubscriptions(connection, [...others, { filterHash, qos }]);
    return true;
  }

  /** Returns false if there was no subscription with that filter. */
  unsubscribe(connection: Connection, filter: string): boolean {
    const filterHash = crc32(filter);
    const subscriptions = this.subscriptionsOf(connection);
    const others = subscriptions.filter((subscription) => subscription.filterHash !== filterHash);
    this.#setSubscriptions(connection, others);
    return others.length < subscriptions.length;
  }

  /** Pushes in flight of the replaced connection, which are newer than those in storage. */
  #resumedInFlight(
    clientId: string,
    { inFlight, isPresent }: MqttSession,
  ): readonly PushInFlight[] {
    const handedOver = this.#handedOver;
    this.#handedOver = undefined;
    if (!isPresent || handedOver?.clientId !== clientId) return inFlight;
    return handedOver.inFlight;
  }

  #setSubscriptions(connection: Connection, [first, ...more]: readonly MqttSubscription[]): void {
    const slot = slotOf(connection);
    this.#filterHashes[slot] = first?.filterHash ?? 0;
    this.#qos[slot] = (this.#qos[slot]! & CLEAN) | (first?.qos ?? NO_SUBSCRIPTION);
    if (more.length > 0) this.#more.set(connection, more);
    else this.#more.delete(connection);
  }

  #arrays() {
    return [
      this.#keepAliveSeconds,
      this.#sessionExpirySeconds,
      this.#receiveMax,
      this.#packetBytesMax,
      this.#packetIds,
      this.#filterHashes,
      this.#qos,
    ];
  }

  #ensureSlot(slot: number): void {
    if (slot < this.#qos.length) return;
    this.#keepAliveSeconds = ensureSlot(this.#keepAliveSeconds, slot);
    this.#sessionExpirySeconds = ensureSlot(this.#sessionExpirySeconds, slot);
    this.#receiveMax = ensureSlot(this.#receiveMax, slot);
    this.#packetBytesMax = ensureSlot(this.#packetBytesMax, slot);
    this.#packetIds = ensureSlot(this.#packetIds, slot);
    this.#filterHashes = ensureSlot(this.#filterHashes, slot);
    this.#qos = ensureSlot(this.#qos, slot);
  }
}

/** 1 follows 65,535. */
function packetIdAfter(packetId: number): number {
  return (packetId % PACKET_IDS) + 1;
}
