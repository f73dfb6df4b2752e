/**
 * Maximum message sizes that devices have requested. Only connections with one are kept, so the
 * others cost nothing.
 */
import type { Connection } from '../../common/transport/transport.js';
import type { Protocol } from '../protocol/protocol.js';

export class MessageLimits {
  readonly #bytesMax = new Map<Connection, number>();

  set(connection: Connection, bytesMax: number): void {
    this.#bytesMax.set(connection, bytesMax);
  }

  find(connection: Connection): number | undefined {
    return this.#bytesMax.get(connection);
  }

  forget(connection: Connection): void {
    if (this.#bytesMax.size > 0) this.#bytesMax.delete(connection);
  }

  /** Whether the device takes a message that its protocol has encoded. */
  allows(connection: Connection, protocol: Protocol, encoded: Buffer): boolean {
    if (this.#bytesMax.size === 0) return true;
    const bytesMax = this.#bytesMax.get(connection);
    if (bytesMax === undefined) return true;
    return (protocol.messageBytes?.(encoded) ?? encoded.length) <= bytesMax;
  }
}
