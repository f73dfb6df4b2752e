/** Storage contract for persistent MQTT sessions: subscriptions and in-flight pushes per client. */
import type { Rejection } from '../../../common/process/errors.js';
import type { PushInFlight } from './window.js';

/** QoS that this server grants; it does not support QoS 2. */
export type GrantedQos = 0 | 1;

/** Subscription with a filter that covers the device's topic. */
export interface MqttSubscription {
  readonly filterHash: number;
  readonly qos: GrantedQos;
}

export interface MqttSession {
  /** Whether the session existed before this connection; it may have no subscriptions. */
  readonly isPresent: boolean;
  readonly subscriptions: readonly MqttSubscription[];
  /** Pushes that an earlier connection sent and the client did not acknowledge, oldest first. */
  readonly inFlight: readonly PushInFlight[];
}

/** Session options of a CONNECT. */
export interface SessionOptions {
  /** Whether to discard an existing session. */
  readonly isClean: boolean;
  /** Whether the session outlives the connection. */
  readonly isPersistent: boolean;
}

/** Storage of sessions between connections. No method throws; a failed write is lost. */
export interface MqttSessionStore {
  /** Loads or creates the session of a client; a rejection if storage is unavailable. */
  open(clientId: string, options: SessionOptions): Promise<MqttSession | Rejection>;
  /** Stores the subscriptions of a persistent session while its client is connected. */
  store(clientId: string, subscriptions: readonly MqttSubscription[]): void;
  /**
   * Lets the session of a disconnected client expire after `afterSeconds`.
   * @param inFlight unacknowledged pushes, oldest first
   */
  expire(clientId: string, afterSeconds: number, inFlight: readonly PushInFlight[]): void;
}
