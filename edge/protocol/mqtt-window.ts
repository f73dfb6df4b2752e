/**
 * The pushes that one connection was sent with QoS 1 and has not confirmed, oldest first. It exists
 * only while there are any.
 *
 * Packet identifiers count up without a hole, over all windows of a connection: so one that comes
 * late, or twice, is not mistaken for that of a later push ([MQTT-2.2.1-4] would let us start
 * anew). A client confirms in the order of the pushes [MQTT-4.6.0-2]; if one does not, what it
 * confirmed early counts when everything before it is confirmed, too.
 */
const PACKET_IDS = 65_535;

/** The identifier that is `n` after this one: 1 follows 65,535. */
function packetIdAfter(packetId: number, n: number): number {
  return ((packetId - 1 + n) % PACKET_IDS) + 1;
}

interface InFlight {
  readonly id: string;
  isAcked: boolean;
}

export class MqttWindow {
  readonly #inFlight: InFlight[] = [];
  /** Of the oldest. */
  #firstPacketId: number;

  /** @param packetId the first one to be given out */
  constructor(packetId: number) {
    this.#firstPacketId = packetId;
  }

  get size(): number {
    return this.#inFlight.length;
  }

  /** What the next push gets. */
  get packetId(): number {
    return packetIdAfter(this.#firstPacketId, this.size);
  }

  /**
   * @param id of the push
   * @param isAcked it will not be confirmed by the client, and is settled with those before it
   * @returns its packet identifier
   */
  add(id: string, isAcked: boolean): number {
    const { packetId } = this;
    this.#inFlight.push({ id, isAcked });
    return packetId;
  }

  /** Returns false for an identifier that is not in flight. */
  ack(packetId: number): boolean {
    const at = (packetId - this.#firstPacketId + PACKET_IDS) % PACKET_IDS;
    const acked = this.#inFlight[at];
    if (acked === undefined) return false;
    acked.isAcked = true;
    return true;
  }

  /** Takes out what is confirmed with everything before it. Returns the newest id of that, or ''. */
  settle(): string {
    const waiting = this.#inFlight.findIndex(({ isAcked }) => !isAcked);
    const settled = this.#inFlight.splice(0, waiting < 0 ? this.size : waiting);
    this.#firstPacketId = packetIdAfter(this.#firstPacketId, settled.length);
    return settled.at(-1)?.id ?? '';
  }

  /** Forgets the newest ones for as long as `isUnsent`: they were never written. */
  forget(isUnsent: (id: string) => boolean): void {
    while (this.size > 0 && isUnsent(this.#inFlight.at(-1)!.id)) this.#inFlight.pop();
  }
}
