/** What a persistent session is, beside the inbox: that it exists, and the subscriptions of a client. */
import type { Rejection } from '../../../common/process/errors.js';
import type { Grant } from './connections.js';
import type { InFlight } from './window.js';

export interface MqttSession {
  /** It was there before; it may have no subscriptions. */
  readonly isPresent: boolean;
  readonly grants: readonly Grant[];
  /** What an earlier connection was sent and has not confirmed, as far as that is known. */
  readonly inFlight?: InFlight | undefined;
}

/** What a client wants of its session when it connects. */
export interface SessionWish {
  /** Whatever was there before is over. */
  readonly isClean: boolean;
  /** It outlives the connection. */
  readonly isKept: boolean;
}

/** Where sessions outlive connections. Nothing here throws; what could not be stored is forgotten. */
export interface MqttSessionStore {
  /** The session of a client that connects, or why that cannot be said. */
  open(clientId: string, wish: SessionWish): Promise<MqttSession | Rejection>;
  /** Stores the subscriptions of a session that is kept, while its client is connected. */
  store(clientId: string, grants: readonly Grant[]): void;
  /**
   * The client is gone: its session ends when it stays away for so long.
   * @param inFlight what it has not confirmed; undefined: nothing
   */
  expire(clientId: string, afterSeconds: number, inFlight: InFlight | undefined): void;
}
