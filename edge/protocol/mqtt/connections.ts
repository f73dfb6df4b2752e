/**
 * What is kept of each MQTT connection, by its slot: some twenty bytes. What a few have more of (a
 * second subscription, pushes in flight) is in a map, only for those.
 *
 * A subscription is known by a hash of its filter: all that is ever asked is whether the same filter
 * comes again.
 */
import { crc32 } from 'node:zlib';
import { ensureSlot, FIRST_SLOTS } from '../../../common/transport/slot-arrays.js';
import { type Connection, slotOf } from '../../../common/transport/transport.js';
import type { MqttConnect } from '../../../common/wire/mqtt/connect.js';
import type { MqttSession } from './session-store.js';
import { type InFlight, MqttWindow } from './window.js';

/** What the server grants: it knows no QoS 2. */
export type GrantedQos = 0 | 1;

/** A filter that covers the device's topic, and what it was granted. */
export interface Grant {
  readonly filterHash: number;
  readonly qos: GrantedQos;
}

/** More filters than cover a topic of two levels. */
export const GRANTS_MAX = 16;
/** Pushes in flight to one connection, if it takes so many. */
export const IN_FLIGHT_MAX = 32;

/** In `#qos`. */
const NO_GRANT = 0xff;

export class MqttConnections {
  #keepAliveSeconds = new Uint16Array(FIRST_SLOTS);
  #isClean = new Uint8Array(FIRST_SLOTS);
  #sessionExpirySeconds = new Uint32Array(FIRST_SLOTS);
  #inFlightMax = new Uint8Array(FIRST_SLOTS);
  /** 0: of any size. */
  #packetBytesMax = new Uint32Array(FIRST_SLOTS);
  /** What the next push gets when there is no window. */
  #packetIds = new Uint16Array(FIRST_SLOTS);
  /** The only grant, or the first. */
  #filterHashes = new Uint32Array(FIRST_SLOTS);
  #qos = new Uint8Array(FIRST_SLOTS);
  /** Further grants, of those that have them. */
  readonly #more = new Map<Connection, Grant[]>();
  readonly #windows = new Map<Connection, MqttWindow>();
  /** Of the connection that was taken over last, if it had something in flight. */
  #handedOver: { readonly clientId: string; readonly inFlight: InFlight } | undefined;

  get bytes(): number {
    return this.#arrays().reduce((sum, array) => sum + array.byteLength, 0);
  }

  /** @param keepAliveSeconds as it was agreed */
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
    const inFlight = this.#leftBehind(connect.clientId, session);
    if (inFlight !== undefined) this.#windows.set(connection, new MqttWindow(inFlight));
    this.#setGrants(connection, session.grants);
  }

  /** What it has in flight is for the connection that takes it over, which is added right after. */
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

  takes(connection: Connection, packetBytes: number): boolean {
    const bytesMax = this.#packetBytesMax[slotOf(connection)]!;
    return bytesMax === 0 || packetBytes <= bytesMax;
  }

  /** What the next push gets. */
  packetId(connection: Connection): number {
    const window = this.#windows.get(connection);
    return window === undefined ? this.#packetIds[slotOf(connection)]! : window.packetId;
  }

  window(connection: Connection): MqttWindow | undefined {
    return this.#windows.get(connection);
  }

  /** Undefined: nothing. */
  inFlight(connection: Connection): InFlight | undefined {
    const window = this.#windows.get(connection);
    return window === undefined || window.isEmpty ? undefined : window.inFlight;
  }

  /** Returns that which there is, or a new one. */
  openWindow(connection: Connection): MqttWindow {
    const opened =
      this.#windows.get(connection) ??
      new MqttWindow({ packetId: this.packetId(connection), ids: [] });
    this.#windows.set(connection, opened);
    return opened;
  }

  /** Its last push is confirmed. */
  closeWindow(connection: Connection): void {
    this.#packetIds[slotOf(connection)] = this.packetId(connection);
    this.#windows.delete(connection);
  }

  /** The highest that a filter was granted [MQTT-3.3.4-2]; undefined: it is not subscribed. */
  qosOf(connection: Connection): GrantedQos | undefined {
    const qos = this.#qos[slotOf(connection)]!;
    if (qos === NO_GRANT) return undefined;
    return qos === 1 || this.#more.get(connection)?.some((grant) => grant.qos === 1) ? 1 : 0;
  }

  grantsOf(connection: Connection): readonly Grant[] {
    const slot = slotOf(connection);
    const qos = this.#qos[slot]!;
    if (qos === NO_GRANT) return [];
    const first = { filterHash: this.#filterHashes[slot]!, qos: qos as GrantedQos };
    return [first, ...(this.#more.get(connection) ?? [])];
  }

  /** Replaces what the same filter had [MQTT-3.8.4-3]. Returns false when it has too many. */
  grant(connection: Connection, filter: string, qos: GrantedQos): boolean {
    const filterHash = crc32(filter);
    const others = this.grantsOf(connection).filter((grant) => grant.filterHash !== filterHash);
    if (others.length >= GRANTS_MAX) return false;
    this.#setGrants(connection, [...others, { filterHash, qos }]);
    return true;
  }

  /** Returns false when it did not have that filter. */
  revoke(connection: Connection, filter: string): boolean {
    const filterHash = crc32(filter);
    const grants = this.grantsOf(connection);
    const others = grants.filter((grant) => grant.filterHash !== filterHash);
    this.#setGrants(connection, others);
    return others.length < grants.length;
  }

  #leftBehind(clientId: string, { inFlight, isPresent }: MqttSession): InFlight | undefined {
    const handedOver = this.#handedOver;
    this.#handedOver = undefined;
    if (!isPresent || handedOver?.clientId !== clientId) return inFlight;
    return handedOver.inFlight;
  }

  #setGrants(connection: Connection, [first, ...more]: readonly Grant[]): void {
    const slot = slotOf(connection);
    this.#filterHashes[slot] = first?.filterHash ?? 0;
    this.#qos[slot] = first?.qos ?? NO_GRANT;
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
