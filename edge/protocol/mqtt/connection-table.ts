/**
 * State of all MQTT connections: about twenty bytes each, in arrays indexed by slot. State that few
 * connections have (further subscriptions, pushes in flight) is in maps.
 *
 * A subscription is identified by a hash of its filter, because it is only ever compared with
 * another filter of the same client.
 */
import { crc32 } from 'node:zlib';
import { ensureSlot, FIRST_SLOTS } from '../../../common/transport/slot-arrays.js';
import { type Connection, slotOf } from '../../../common/transport/transport.js';
import type { MqttConnect } from '../../../common/wire/mqtt/connect.js';
import type { GrantedQos, MqttSession, MqttSubscription } from './session-store.js';
import { type InFlight, MqttWindow } from './window.js';

/** Subscriptions per connection: more than there are filters that cover a topic of two levels. */
export const SUBSCRIPTIONS_MAX = 16;
/** Pushes in flight per connection, unless the client's Receive Maximum is lower. */
export const IN_FLIGHT_MAX = 32;

/** Value in `#qos` of a connection without subscriptions. */
const NO_SUBSCRIPTION = 0xff;

export class MqttConnectionTable {
  #keepAliveSeconds = new Uint16Array(FIRST_SLOTS);
  #isClean = new Uint8Array(FIRST_SLOTS);
  #sessionExpirySeconds = new Uint32Array(FIRST_SLOTS);
  #inFlightMax = new Uint8Array(FIRST_SLOTS);
  /** Maximum Packet Size of the client; 0: unlimited. */
  #packetBytesMax = new Uint32Array(FIRST_SLOTS);
  /** Packet identifier of the next push while the connection has no window. */
  #packetIds = new Uint16Array(FIRST_SLOTS);
  /** Filter and QoS of the first subscription. */
  #filterHashes = new Uint32Array(FIRST_SLOTS);
  #qos = new Uint8Array(FIRST_SLOTS);
  /** Subscriptions after the first. */
  readonly #more = new Map<Connection, MqttSubscription[]>();
  readonly #windows = new Map<Connection, MqttWindow>();
  /** Pushes in flight on the connection that was replaced last; undefined if there were none. */
  #handedOver: { readonly clientId: string; readonly inFlight: InFlight } | undefined;

  get bytes(): number {
    return this.#arrays().reduce((sum, array) => sum + array.byteLength, 0);
  }

  /** @param keepAliveSeconds negotiated value, which may differ from that of CONNECT */
  add(
    connection: Connection,
    connect: MqttConnect,
    keepAliveSeconds: number,
    session: MqttSession,
  ): void {
    const slot = slotOf(connection);
    this.#ensureSlot(slot);
    this.#keepAliveSeconds[slot] = keepAliveSeconds;
    this.#isClean[slot] = connect.isClean ? 1 : 0;
    this.#sessionExpirySeconds[slot] = connect.sessionExpirySeconds;
    this.#inFlightMax[slot] = Math.min(connect.receiveMax, IN_FLIGHT_MAX);
    this.#packetBytesMax[slot] = Number.isFinite(connect.packetBytesMax)
      ? connect.packetBytesMax
      : 0;
    this.#packetIds[slot] = 1;
    const inFlight = this.#resumedInFlight(connect.clientId, session);
    if (inFlight !== undefined) this.#windows.set(connection, new MqttWindow(inFlight));
    this.#setSubscriptions(connection, session.subscriptions);
  }

  /** Keeps the pushes in flight for the connection that replaces this one, which is added next. */
  handOver(connection: Connection, clientId: string): void {
    const inFlight = this.inFlight(connection);
    this.#handedOver = inFlight === undefined ? undefined : { clientId, inFlight };
  }

  forget(connection: Connection): void {
    this.#more.delete(connection);
    this.#windows.delete(connection);
  }

  keepAliveSeconds(connection: Connection): number {
    return this.#keepAliveSeconds[slotOf(connection)]!;
  }

  isClean(connection: Connection): boolean {
    return this.#isClean[slotOf(connection)] === 1;
  }

  sessionExpirySeconds(connection: Connection): number {
    return this.#sessionExpirySeconds[slotOf(connection)]!;
  }

  setSessionExpirySeconds(connection: Connection, seconds: number): void {
    this.#sessionExpirySeconds[slotOf(connection)] = seconds;
  }

  inFlightMax(connection: Connection): number {
    return this.#inFlightMax[slotOf(connection)]!;
  }

  /** Whether a packet is within the client's Maximum Packet Size. */
  acceptsPacketSize(connection: Connection, packetBytes: number): boolean {
    const bytesMax = this.#packetBytesMax[slotOf(connection)]!;
    return bytesMax === 0 || packetBytes <= bytesMax;
  }

  /** Packet identifier of the next push. */
  packetId(connection: Connection): number {
    const window = this.#windows.get(connection);
    return window === undefined ? this.#packetIds[slotOf(connection)]! : window.packetId;
  }

  window(connection: Connection): MqttWindow | undefined {
    return this.#windows.get(connection);
  }

  /** Pushes in flight; undefined if there are none. */
  inFlight(connection: Connection): InFlight | undefined {
    const window = this.#windows.get(connection);
    return window === undefined || window.isEmpty ? undefined : window.inFlight;
  }

  /** Returns the existing window, or opens one. */
  openWindow(connection: Connection): MqttWindow {
    const opened =
      this.#windows.get(connection) ??
      new MqttWindow({ packetId: this.packetId(connection), ids: [] });
    this.#windows.set(connection, opened);
    return opened;
  }

  /** Removes an empty window; packet identifiers go on where it ended. */
  closeWindow(connection: Connection): void {
    this.#packetIds[slotOf(connection)] = this.packetId(connection);
    this.#windows.delete(connection);
  }

  /** Highest QoS of all subscriptions [MQTT-3.3.4-2]; undefined if there are none. */
  qosOf(connection: Connection): GrantedQos | undefined {
    const qos = this.#qos[slotOf(connection)]!;
    if (qos === NO_SUBSCRIPTION) return undefined;
    return qos === 1 || this.#more.get(connection)?.some((other) => other.qos === 1) ? 1 : 0;
  }

  subscriptionsOf(connection: Connection): readonly MqttSubscription[] {
    const slot = slotOf(connection);
    const qos = this.#qos[slot]!;
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
  #resumedInFlight(clientId: string, { inFlight, isPresent }: MqttSession): InFlight | undefined {
    const handedOver = this.#handedOver;
    this.#handedOver = undefined;
    if (!isPresent || handedOver?.clientId !== clientId) return inFlight;
    return handedOver.inFlight;
  }

  #setSubscriptions(connection: Connection, [first, ...more]: readonly MqttSubscription[]): void {
    const slot = slotOf(connection);
    this.#filterHashes[slot] = first?.filterHash ?? 0;
    this.#qos[slot] = first?.qos ?? NO_SUBSCRIPTION;
    if (more.length > 0) this.#more.set(connection, more);
    else this.#more.delete(connection);
  }

  #arrays() {
    return [
      this.#keepAliveSeconds,
      this.#isClean,
      this.#sessionExpirySeconds,
      this.#inFlightMax,
      this.#packetBytesMax,
      this.#packetIds,
      this.#filterHashes,
      this.#qos,
    ];
  }

  #ensureSlot(slot: number): void {
    if (slot < this.#qos.length) return;
    this.#keepAliveSeconds = ensureSlot(this.#keepAliveSeconds, slot);
    this.#isClean = ensureSlot(this.#isClean, slot);
    this.#sessionExpirySeconds = ensureSlot(this.#sessionExpirySeconds, slot);
    this.#inFlightMax = ensureSlot(this.#inFlightMax, slot);
    this.#packetBytesMax = ensureSlot(this.#packetBytesMax, slot);
    this.#packetIds = ensureSlot(this.#packetIds, slot);
    this.#filterHashes = ensureSlot(this.#filterHashes, slot);
    this.#qos = ensureSlot(this.#qos, slot);
  }
}
