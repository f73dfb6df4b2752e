/**
 * In-flight window: the QoS 1 pushes that one connection was sent and has not confirmed, oldest
 * first. A connection has a window only while it has such pushes, or while an earlier connection of
 * its session left some: these are resent with their original packet identifiers [MQTT-4.4.0-1].
 *
 * Packet identifiers count up without gaps over all windows of a connection, so a late or duplicate
 * PUBACK does not match a later push ([MQTT-2.2.1-4] would allow to reuse them). A client must
 * confirm in the order of the pushes [MQTT-4.6.0-2]; an acknowledgement out of order takes effect
 * once everything before it is confirmed.
 */
import { isIdBefore } from '../../../common/cluster/inbox.js';

const PACKET_IDS = 65_535;

/** Returns the identifier `n` after this one; 1 follows 65,535. */
function packetIdAfter(packetId: number, n: number): number {
  return ((packetId - 1 + n) % PACKET_IDS) + 1;
}

/** Pushes that were sent and not confirmed. */
export interface InFlight {
  /** Packet identifier of the first push; those of the others follow without gaps. */
  readonly packetId: number;
  /** Push ids, oldest first. */
  readonly ids: readonly string[];
}

interface SentPush {
  readonly id: string;
  isAcked: boolean;
}

export class MqttWindow {
  readonly #sent: SentPush[] = [];
  /** Ids from an earlier connection that have not been resent yet. */
  readonly #toResend: string[];
  /** Packet identifier of the oldest push. */
  #firstPacketId: number;

  /** @param inFlight pushes to resend; the window's packet identifiers start with its first one */
  constructor({ packetId, ids }: InFlight) {
    this.#firstPacketId = packetId;
    this.#toResend = [...ids];
  }

  get size(): number {
    return this.#sent.length;
  }

  /** Whether nothing is in flight or to be resent. */
  get isEmpty(): boolean {
    return this.size === 0 && this.#toResend.length === 0;
  }

  /** Packet identifier of the next push. */
  get packetId(): number {
    return packetIdAfter(this.#firstPacketId, this.size);
  }

  /** Pushes that the next connection of the session must resend. */
  get inFlight(): InFlight {
    return {
      packetId: this.#firstPacketId,
      ids: [...this.#sent.map(({ id }) => id), ...this.#toResend],
    };
  }

  /**
   * Prepares to send the push `id` next. Older pushes that were to be resent have expired; each
   * keeps its packet identifier.
   * @returns whether `id` was sent by an earlier connection
   */
  advanceTo(id: string): boolean {
    while (this.#toResend.length > 0 && isIdBefore(this.#toResend[0]!, id)) {
      this.addConfirmed(this.#toResend[0]!);
    }
    return this.#toResend[0] === id;
  }

  /** Adds the next push, which the client must confirm. Returns its packet identifier. */
  add(id: string): number {
    const { packetId } = this;
    this.#push({ id, isAcked: false });
    return packetId;
  }

  /** Adds the next push, which needs no PUBACK and is confirmed together with those before it. */
  addConfirmed(id: string): void {
    this.#push({ id, isAcked: true });
    if (this.size === 1) this.takeConfirmed();
  }

  has(packetId: number): boolean {
    return this.#find(packetId) !== undefined;
  }

  /** Returns false if the packet identifier is not in flight. */
  ack(packetId: number): boolean {
    const acked = this.#find(packetId);
    if (acked === undefined) return false;
    acked.isAcked = true;
    return true;
  }

  /** Removes the pushes before the oldest unconfirmed one. Returns the newest removed id, or ''. */
  takeConfirmed(): string {
    const oldestUnacked = this.#sent.findIndex(({ isAcked }) => !isAcked);
    const confirmed = this.#sent.splice(0, oldestUnacked < 0 ? this.size : oldestUnacked);
    this.#firstPacketId = packetIdAfter(this.#firstPacketId, confirmed.length);
    return confirmed.at(-1)?.id ?? '';
  }

  /** Removes the newest pushes as long as `isUnwritten` holds. */
  dropUnwritten(isUnwritten: (id: string) => boolean): void {
    while (this.size > 0 && isUnwritten(this.#sent.at(-1)!.id)) this.#sent.pop();
  }

  #push(sent: SentPush): void {
    if (this.#toResend[0] === sent.id) this.#toResend.shift();
    this.#sent.push(sent);
  }

  #find(packetId: number): SentPush | undefined {
    return this.#sent[(packetId - this.#firstPacketId + PACKET_IDS) % PACKET_IDS];
  }
}
