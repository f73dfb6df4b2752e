/** What a persistent session is, beside the inbox: the subscriptions of a client. */
import type { Refusal } from '../../common/errors.js';
import type { Grant } from './mqtt-connections.js';

/** Where sessions outlive connections. Nothing here throws; what could not be stored is forgotten. */
export interface MqttSessionStore {
  /** What the session of the client has subscribed; none: there is no session. */
  find(clientId: string): Promise<readonly Grant[] | Refusal>;
  /** Ends the session. Resolves with why that could not be done. */
  drop(clientId: string): Promise<Refusal | undefined>;
  /** Stores what has changed, while the client is connected. */
  store(clientId: string, grants: readonly Grant[]): void;
  /** The client is gone: its session ends when it stays away for so long. */
  expire(clientId: string, afterSeconds: number): void;
}
