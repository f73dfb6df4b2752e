/**
 * In-flight window: the QoS 1 pushes that one connection was sent and has not acknowledged, oldest
 * first. A connection has a window only while it has such pushes, or while an earlier connection of
 * its session left some: these are resent with their packet identifiers [MQTT-4.4.0-1].
 *
 * A push that stays unacknowledged must not stop the others, and must not be resent on the same
 * connection [MQTT-4.4.0-1]. So after a while it is set aside: it takes no place in the window any
 * more and waits for its acknowledgement, or for the next connection. An expired push leaves the
 * window. Both still count against the client's Receive Maximum (§4.9).
 *
 * Invariant: `#unacked` is in order of sending, and its first `#aside` elements are set aside.
 */
import { isIdBefore } from '../../../common/cluster/inbox.js';

/** A push that was sent and not acknowledged. */
export interface PushInFlight {
  readonly packetId: number;
  readonly id: string;
}

interface SentPush extends PushInFlight {
  readonly sentAtMs: number;
  readonly expiresAtMs: number;
}

/** An acknowledged push. */
export interface AckedPush {
  readonly id: string;
  /** Whether every earlier push is acknowledged too. */
  readonly isOldest: boolean;
}

export interface WindowChanges {
  readonly setAside: number;
  readonly expired: number;
}

export class MqttWindow {
  #unacked: SentPush[] = [];
  /** Pushes of an earlier connection that have not been resent yet. */
  readonly #toResend: PushInFlight[];
  #aside = 0;
  /** Pushes that expired unacknowledged on this connection. */
  #expired = 0;

  /** @param inFlight pushes to resend, oldest first */
  constructor(inFlight: readonly PushInFlight[]) {
    this.#toResend = [...inFlight];
  }

  /** Pushes that take a place in the window. */
  get size(): number {
    return this.#unacked.length - this.#aside;
  }

  /** Pushes that count against the client's Receive Maximum. */
  get unackedCount(): number {
    return this.#unacked.length + this.#expired;
  }

  /** Whether this window has no state that a new one would not have. */
  get isEmpty(): boolean {
    return this.unackedCount === 0 && this.#toResend.length === 0;
  }

  /** Pushes that the next connection of the session must resend, oldest first. */
  get inFlight(): readonly PushInFlight[] {
    return [...this.#unacked, ...this.#toResend].map(({ packetId, id }) => ({ packetId, id }));
  }

  /**
   * Prepares to send the push `id` next; older pushes that were to be resent have left the inbox.
   * Returns the packet identifier with which an earlier connection sent it, if one did.
   */
  takeResend(id: string): number | undefined {
    while (this.#toResend.length > 0 && isIdBefore(this.#toResend[0]!.id, id)) {
      this.#toResend.shift();
    }
    return this.#toResend[0]?.id === id ? this.#toResend.shift()!.packetId : undefined;
  }

  add(packetId: number, id: string, sentAtMs: number, expiresAtMs: number): void {
    this.#unacked.push({ packetId, id, sentAtMs, expiresAtMs });
  }

  /** Whether a packet identifier is in use [MQTT-2.2.1-3]. */
  has(packetId: number): boolean {
    const isIt = (push: PushInFlight) => push.packetId === packetId;
    return this.#unacked.some(isIt) || this.#toResend.some(isIt);
  }

  /** Removes a push. Returns undefined if the packet identifier is not in flight. */
  ack(packetId: number): AckedPush | undefined {
    const at = this.#unacked.findIndex((push) => push.packetId === packetId);
    if (at < 0) {
      // Possibly of an expired push: each PUBACK gives back a place (§4.9).
      if (this.#expired > 0) this.#expired--;
      return undefined;
    }
    const [{ id }] = this.#unacked.splice(at, 1) as [SentPush];
    if (at < this.#aside) this.#aside--;
    return { id, isOldest: at === 0 && this.#expired === 0 };
  }

  /** Whether a push without PUBACK is older than every unacknowledged one. */
  isOldest(id: string): boolean {
    const [oldest] = this.#unacked;
    return this.#expired === 0 && (oldest === undefined || isIdBefore(id, oldest.id));
  }

  /**
   * Removes expired pushes, and sets those aside that were sent before `sentBeforeMs`.
   * @param asideMax maximum number of pushes set aside
   */
  sweep(nowMs: number, sentBeforeMs: number, asideMax: number): WindowChanges {
    const wasAside = this.#aside;
    const kept = this.#unacked.filter(({ expiresAtMs }, at) => {
      if (expiresAtMs > nowMs) return true;
      if (at < wasAside) this.#aside--;
      return false;
    });
    const expired = this.#unacked.length - kept.length;
    this.#unacked = kept;
    this.#expired += expired;
    const asideBefore = this.#aside;
    while (this.#aside < asideMax && (kept[this.#aside]?.sentAtMs ?? nowMs) < sentBeforeMs) {
      this.#aside++;
    }
    return { setAside: this.#aside - asideBefore, expired };
  }

  /** Removes the newest pushes as long as `isUnwritten` holds. */
  dropUnwritten(isUnwritten: (id: string) => boolean): void {
    while (this.size > 0 && isUnwritten(this.#unacked.at(-1)!.id)) this.#unacked.pop();
  }
}
