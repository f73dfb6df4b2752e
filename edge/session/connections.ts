/**
 * The connection table: every connection that a client was registered for. It is the heart of an
 * edge, and most of its memory.
 *
 * State per connection lives in arrays indexed by the transport's slot. Clients are found through
 * one Map per shard, so that a shard is counted, iterated and dropped without touching the others.
 *
 * Invariants:
 * - a clientId has at most one connection here;
 * - `slotsByShard[shard].get(clientId) === slot` exactly when `clientIds[slot] === clientId` and
 *   `shards[slot] === shard`;
 * - removing a connection never removes the newer one of the same client.
 */
import { parseMessageId } from '../../common/cluster/inbox.js';
import { shardOf } from '../../common/cluster/shard.js';
import { ensureSlot, FIRST_SLOTS } from '../../common/transport/slot-arrays.js';
import {
  type Connection,
  connectionOf,
  generationOf,
  slotOf,
} from '../../common/transport/transport.js';
import { userOf } from '../../common/wire/client-id.js';
import type { Protocol } from '../protocol/protocol.js';

/**
 * - `opening`: registered, not accepted yet. Ends when the shard's subscription is confirmed.
 * - `unsubscribed`: accepted, and receives no pushes. Changes to `catchingUp` when the device
 *   subscribes, which not every protocol offers.
 * - `catchingUp`: accepted, and receiving the backlog. Live-only pushes reach it, durable ones wait
 *   in the inbox. Changes to `live` when the inbox holds nothing newer than the last id sent.
 * - `live`: receives every push as it arrives. Changes to `catchingUp` when its shard has a gap.
 */
export type ConnectionState = 'opening' | 'unsubscribed' | 'catchingUp' | 'live';

const STATES: readonly ConnectionState[] = ['opening', 'unsubscribed', 'catchingUp', 'live'];
const STATE_OPENING = STATES.indexOf('opening');
const STATE_CATCHING_UP = STATES.indexOf('catchingUp');
/** No expiry, or one beyond what seconds in four bytes can express. */
const NEVER_S = 2 ** 32 - 1;

export class Connections {
  /** By slot; 0: the slot has no client. */
  #generations = new Uint32Array(FIRST_SLOTS);
  #shards = new Uint16Array(FIRST_SLOTS);
  #states = new Uint8Array(FIRST_SLOTS);
  /** By slot: an index into `protocols`. */
  #protocols = new Uint8Array(FIRST_SLOTS);
  /** Milliseconds of the monotonic clock, by slot. */
  #connectedAtMs = new Float64Array(FIRST_SLOTS);
  /** Unix time in seconds, by slot: expiry of the connection's token. */
  #expiresAtS = new Uint32Array(FIRST_SLOTS);
  /**
   * Unix time in seconds, by slot: when the connection's token was issued. 0: the token does not
   * say; `NEVER_S`: the connection has no token. Empty until a connection has a token.
   */
  #issuedAtS = new Uint32Array(0);
  /** By slot: the two halves of the id of the newest durable push that was written; 0-0: none. */
  #sentMs = new Float64Array(FIRST_SLOTS);
  #sentN = new Uint32Array(FIRST_SLOTS);
  readonly #clientIds: (string | undefined)[] = [];
  readonly #slotsByShard: (Map<string, number> | undefined)[];
  /** Every protocol that a connection has used; never more than 256. */
  readonly protocols: Protocol[] = [];
  #count = 0;
  #addedCount = 0;

  constructor(readonly shardCount: number) {
    this.#slotsByShard = new Array(shardCount);
  }

  get count(): number {
    return this.#count;
  }

  /** Connections registered since the start. */
  get addedCount(): number {
    return this.#addedCount;
  }

  /** Registers a connection as `opening`. Returns the older one that it replaces, if any. */
  add(
    connection: Connection,
    clientId: string,
    shard: number,
    protocol: Protocol,
    nowMs: number,
  ): Connection | undefined {
    const slot = slotOf(connection);
    const replaced = this.find(shard, clientId);
    if (replaced !== undefined) this.remove(replaced);
    this.#ensureSlot(slot);
    this.#generations[slot] = generationOf(connection);
    this.#shards[slot] = shard;
    this.#states[slot] = STATE_OPENING;
    this.#protocols[slot] = this.#indexOf(protocol);
    this.#connectedAtMs[slot] = nowMs;
    this.#expiresAtS[slot] = NEVER_S;
    if (slot < this.#issuedAtS.length) this.#issuedAtS[slot] = NEVER_S;
    this.#sentMs[slot] = this.#sentN[slot] = 0;
    this.#clientIds[slot] = clientId;
    let slots = this.#slotsByShard[shard];
    if (slots === undefined) this.#slotsByShard[shard] = slots = new Map();
    slots.set(clientId, slot);
    this.#count++;
    this.#addedCount++;
    return replaced;
  }

  /** Returns false for a connection that is not registered, as when a newer one has replaced it. */
  remove(connection: Connection): boolean {
    if (!this.has(connection)) return false;
    const slot = slotOf(connection);
    const shard = this.#shards[slot]!;
    const slots = this.#slotsByShard[shard]!;
    slots.delete(this.#clientIds[slot]!);
    if (slots.size === 0) this.#slotsByShard[shard] = undefined;
    this.#generations[slot] = 0;
    this.#clientIds[slot] = undefined;
    this.#count--;
    return true;
  }

  /** Size of the arrays; the maps are on the JavaScript heap. */
  get bytes(): number {
    return [
      this.#generations,
      this.#shards,
      this.#states,
      this.#protocols,
      this.#connectedAtMs,
      this.#expiresAtS,
      this.#issuedAtS,
      this.#sentMs,
      this.#sentN,
    ].reduce((sum, array) => sum + array.byteLength, 0);
  }

  has(connection: Connection): boolean {
    return this.#generations[slotOf(connection)] === generationOf(connection);
  }

  find(shard: number, clientId: string): Connection | undefined {
    const slot = this.#slotsByShard[shard]?.get(clientId);
    return slot === undefined ? undefined : this.#at(slot);
  }

  /** The same, if the connection receives pushes. */
  findSubscribed(shard: number, clientId: string): Connection | undefined {
    const slot = this.#slotsByShard[shard]?.get(clientId);
    const isSubscribed = slot !== undefined && this.#states[slot]! >= STATE_CATCHING_UP;
    return isSubscribed ? this.#at(slot) : undefined;
  }

  /** Only for a registered connection. */
  clientIdOf(connection: Connection): string {
    return this.#clientIds[slotOf(connection)]!;
  }

  shardOf(connection: Connection): number {
    return this.#shards[slotOf(connection)]!;
  }

  protocolOf(connection: Connection): Protocol {
    return this.protocols[this.#protocols[slotOf(connection)]!]!;
  }

  connectedAtMs(connection: Connection): number {
    return this.#connectedAtMs[slotOf(connection)]!;
  }

  /** @param atMs Unix time, rounded up to a second; Infinity: never */
  setExpiry(connection: Connection, atMs: number): void {
    this.#expiresAtS[slotOf(connection)] = Math.min(NEVER_S, Math.ceil(atMs / 1_000));
  }

  expiresAtMs(connection: Connection): number {
    const atS = this.#expiresAtS[slotOf(connection)]!;
    return atS === NEVER_S ? Number.POSITIVE_INFINITY : atS * 1_000;
  }

  /** @param atMs Unix time; 0: the token does not say, Infinity: the connection has none */
  setIssued(connection: Connection, atMs: number): void {
    const slot = slotOf(connection);
    if (atMs === Number.POSITIVE_INFINITY && slot >= this.#issuedAtS.length) return;
    const { length } = this.#issuedAtS;
    this.#issuedAtS = ensureSlot(this.#issuedAtS, slot);
    this.#issuedAtS.fill(NEVER_S, length);
    this.#issuedAtS[slot] = Math.min(NEVER_S, Math.floor(atMs / 1_000));
  }

  issuedAtMs(connection: Connection): number {
    const atS = this.#issuedAtS[slotOf(connection)] ?? NEVER_S;
    return atS === NEVER_S ? Number.POSITIVE_INFINITY : atS * 1_000;
  }

  /** Connections whose token was issued before `atMs`. Do not modify the table while iterating. */
  *issuedBefore(atMs: number): Generator<Connection> {
    const atS = Math.min(NEVER_S, Math.ceil(atMs / 1_000));
    for (let slot = 0; slot < this.#issuedAtS.length; slot++) {
      if (this.#issuedAtS[slot]! < atS && this.#generations[slot] !== 0) yield this.#at(slot);
    }
  }

  /**
   * Accepted connections whose token expires by `atMs`. Do not modify the table while iterating.
   */
  *expiringBy(atMs: number): Generator<Connection> {
    const atS = Math.min(NEVER_S - 1, Math.floor(atMs / 1_000));
    for (let slot = 0; slot < this.#generations.length; slot++) {
      if (this.#expiresAtS[slot]! > atS || this.#generations[slot] === 0) continue;
      if (this.#states[slot] !== STATE_OPENING) yield this.#at(slot);
    }
  }

  stateOf(connection: Connection): ConnectionState {
    return STATES[this.#states[slotOf(connection)]!]!;
  }

  setState(connection: Connection, state: ConnectionState): void {
    this.#states[slotOf(connection)] = STATES.indexOf(state);
  }

  /** Id of the newest durable push that was written to the connection; '' if none. */
  lastSentId(connection: Connection): string {
    const slot = slotOf(connection);
    return this.#sentMs[slot] === 0 ? '' : `${this.#sentMs[slot]}-${this.#sentN[slot]}`;
  }

  /** Whether the push with this id was written to the connection: ids increase per client. */
  wasSent(connection: Connection, id: string): boolean {
    const slot = slotOf(connection);
    const [ms, n] = parseMessageId(id);
    return ms < this.#sentMs[slot]! || (ms === this.#sentMs[slot] && n <= this.#sentN[slot]!);
  }

  markSent(connection: Connection, id: string): void {
    const slot = slotOf(connection);
    [this.#sentMs[slot], this.#sentN[slot]] = parseMessageId(id);
  }

  countOf(shard: number): number {
    return this.#slotsByShard[shard]?.size ?? 0;
  }

  /** The shards with at least one connection, and the number of connections of each. */
  loads(): { shards: number[]; connections: number[] } {
    const shards: number[] = [];
    const connections: number[] = [];
    for (let shard = 0; shard < this.shardCount; shard++) {
      const count = this.countOf(shard);
      if (count === 0) continue;
      shards.push(shard);
      connections.push(count);
    }
    return { shards, connections };
  }

  /** Connections of a shard. Do not modify the table while iterating. */
  *ofShard(shard: number): Generator<Connection> {
    for (const slot of this.#slotsByShard[shard]?.values() ?? []) yield this.#at(slot);
  }

  /** Connections of a client, or of all devices of a user. */
  named(name: string): Connection[] {
    return [...this.ofShard(shardOf(name, this.shardCount))].filter((connection) => {
      const clientId = this.clientIdOf(connection);
      return clientId === name || userOf(clientId) === name;
    });
  }

  /** All connections, unordered. Do not modify the table while iterating. */
  *all(): Generator<Connection> {
    for (let shard = 0; shard < this.shardCount; shard++) yield* this.ofShard(shard);
  }

  /** Connections of a shard that receive pushes. Do not modify the table while iterating. */
  *subscribedOf(shard: number): Generator<Connection> {
    for (const slot of this.#slotsByShard[shard]?.values() ?? []) {
      if (this.#states[slot]! >= STATE_CATCHING_UP) yield this.#at(slot);
    }
  }

  *acceptedOf(shard: number): Generator<Connection> {
    for (const slot of this.#slotsByShard[shard]?.values() ?? []) {
      if (this.#states[slot] !== STATE_OPENING) yield this.#at(slot);
    }
  }

  /** Accepted connections whose slot is `part` modulo `parts`: one step of a sweep. */
  *acceptedPart(part: number, parts: number): Generator<Connection> {
    for (let slot = part; slot < this.#generations.length; slot += parts) {
      if (this.#generations[slot] !== 0 && this.#states[slot] !== STATE_OPENING) {
        yield this.#at(slot);
      }
    }
  }

  /** Accepted connections with these slots, the last one excluded, by slot. */
  *acceptedFrom(fromSlot: number, untilSlot: number): Generator<Connection> {
    const end = Math.min(untilSlot, this.slotCount);
    for (let slot = fromSlot; slot < end; slot++) {
      if (this.#generations[slot] !== 0 && this.#states[slot] !== STATE_OPENING) {
        yield this.#at(slot);
      }
    }
  }

  /** Every connection has a lower slot. */
  get slotCount(): number {
    return this.#generations.length;
  }

  #at(slot: number): Connection {
    return connectionOf(slot, this.#generations[slot]!);
  }

  #indexOf(protocol: Protocol): number {
    const index = this.protocols.indexOf(protocol);
    return index === -1 ? this.protocols.push(protocol) - 1 : index;
  }

  #ensureSlot(slot: number): void {
    if (slot < this.#generations.length) return;
    this.#generations = ensureSlot(this.#generations, slot);
    this.#shards = ensureSlot(this.#shards, slot);
    this.#states = ensureSlot(this.#states, slot);
    this.#protocols = ensureSlot(this.#protocols, slot);
    this.#expiresAtS = ensureSlot(this.#expiresAtS, slot);
    this.#connectedAtMs = ensureSlot(this.#connectedAtMs, slot);
    this.#sentMs = ensureSlot(this.#sentMs, slot);
    this.#sentN = ensureSlot(this.#sentN, slot);
  }
}
