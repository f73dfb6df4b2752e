/**
 * The pushes that one connection was sent with QoS 1 and has not confirmed, oldest first. It exists
 * only while there are any, or while there are some that an earlier connection of the session left
 * behind: those are sent again, with the identifiers that they had [MQTT-4.4.0-1].
 *
 * Packet identifiers count up without a hole, over all windows of a connection: so one that comes
 * late, or twice, is not mistaken for that of a later push ([MQTT-2.2.1-4] would let us start
 * anew). A client confirms in the order of the pushes [MQTT-4.6.0-2]; if one does not, what it
 * confirmed early counts when everything before it is confirmed, too.
 */
import { isIdBefore } from '../../../common/cluster/inbox.js';

const PACKET_IDS = 65_535;

/** The identifier that is `n` after this one: 1 follows 65,535. */
function packetIdAfter(packetId: number, n: number): number {
  return ((packetId - 1 + n) % PACKET_IDS) + 1;
}

/** What was sent and not confirmed. */
export interface InFlight {
  /** Of the first; the others have those after it, without a hole. */
  readonly packetId: number;
  /** Of pushes, oldest first. */
  readonly ids: readonly string[];
}

interface Sent {
  readonly id: string;
  isAcked: boolean;
}

export class MqttWindow {
  readonly #sent: Sent[] = [];
  /** Left behind by an earlier connection and not sent again yet. */
  readonly #left: string[];
  /** Of the oldest. */
  #firstPacketId: number;

  /** @param inFlight its ids were left behind; the first packet identifier to be given out is its */
  constructor({ packetId, ids }: InFlight) {
    this.#firstPacketId = packetId;
    this.#left = [...ids];
  }

  get size(): number {
    return this.#sent.length;
  }

  /** Nothing is in flight, nor waits to be sent again. */
  get isEmpty(): boolean {
    return this.size === 0 && this.#left.length === 0;
  }

  /** What the next push gets. */
  get packetId(): number {
    return packetIdAfter(this.#firstPacketId, this.size);
  }

  /** What the next connection of the session has to send again. */
  get inFlight(): InFlight {
    return {
      packetId: this.#firstPacketId,
      ids: [...this.#sent.map(({ id }) => id), ...this.#left],
    };
  }

  /**
   * Makes this push the next one. What was left behind before it and is not coming again, because it
   * has expired, keeps its identifier to itself.
   * @returns whether it was left behind
   */
  goTo(id: string): boolean {
    while (this.#left.length > 0 && isIdBefore(this.#left[0]!, id)) this.pass(this.#left[0]!);
    return this.#left[0] === id;
  }

  /** The next push is sent, and waits to be confirmed. Returns its packet identifier. */
  add(id: string): number {
    const { packetId } = this;
    this.#push({ id, isAcked: false });
    return packetId;
  }

  /** The next push is not confirmed by the client, and settled with those before it. */
  pass(id: string): void {
    this.#push({ id, isAcked: true });
    if (this.size === 1) this.settle();
  }

  has(packetId: number): boolean {
    return this.#find(packetId) !== undefined;
  }

  /** Returns false for an identifier that is not in flight. */
  ack(packetId: number): boolean {
    const acked = this.#find(packetId);
    if (acked === undefined) return false;
    acked.isAcked = true;
    return true;
  }

  /** Takes out what is confirmed with everything before it. Returns the newest id of that, or ''. */
  settle(): string {
    const waiting = this.#sent.findIndex(({ isAcked }) => !isAcked);
    const settled = this.#sent.splice(0, waiting < 0 ? this.size : waiting);
    this.#firstPacketId = packetIdAfter(this.#firstPacketId, settled.length);
    return settled.at(-1)?.id ?? '';
  }

  /** Forgets the newest ones for as long as `isUnsent`: they were never written. */
  forget(isUnsent: (id: string) => boolean): void {
    while (this.size > 0 && isUnsent(this.#sent.at(-1)!.id)) this.#sent.pop();
  }

  #push(sent: Sent): void {
    if (this.#left[0] === sent.id) this.#left.shift();
    this.#sent.push(sent);
  }

  #find(packetId: number): Sent | undefined {
    return this.#sent[(packetId - this.#firstPacketId + PACKET_IDS) % PACKET_IDS];
  }
}
