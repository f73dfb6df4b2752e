/**
 * Persistent MQTT sessions in Redis, where any edge finds the session of a client that connects:
 *
 *   ll:{tag}:sub:<clientId>   string; `<hash of the filter>:<granted QoS>`, comma-separated; may be
 *                             empty
 *   ll:{tag}:sent:<clientId>  string; pushes in flight when the last connection ended, if any:
 *                             `<packet identifier>:<id>`, comma-separated
 *
 * Unconfirmed pushes of a session are the client's inbox, which all protocols share. Keys are read
 * at a connect. They are written when a session starts, when its subscriptions change, and when a
 * client with unconfirmed pushes disconnects; never on the path of a push.
 */
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Outcome } from '../../common/redis/execute.js';
import type { ScriptLink } from '../../common/redis/script.js';
import type {
  GrantedQos,
  MqttSession,
  MqttSessionStore,
  MqttSubscription,
  SessionOptions,
} from '../protocol/mqtt/session-store.js';
import type { PushInFlight } from '../protocol/mqtt/window.js';

/**
 * Expiry of the session of a connected client. It matters only if the edge dies before it can set
 * `afterSeconds`: longer than any connection lasts, and finite.
 */
const CONNECTED_MS = 30 * 24 * 3600 * 1000;
/** Maximum session expiry of a disconnected client. */
export const SESSION_SECONDS_MAX = 7 * 24 * 3600;

const NEW: MqttSession = { isPresent: false, subscriptions: [], inFlight: [] };

export class MqttSessions implements MqttSessionStore {
  constructor(
    readonly link: ScriptLink,
    /** Returns the channel of the client's shard, with which its keys start. */
    readonly channelOf: (clientId: string) => string,
  ) {}

  async open(
    clientId: string,
    { isClean, isPersistent }: SessionOptions,
  ): Promise<MqttSession | Rejection> {
    const found = isClean ? null : await this.#find(clientId);
    return found ?? (await this.#create(clientId, isClean, isPersistent)) ?? NEW;
  }

  store(clientId: string, subscriptions: readonly MqttSubscription[]): void {
    const value = subscriptions.map(({ filterHash, qos }) => `${filterHash}:${qos}`).join(',');
    void this.link.execute('set', [this.#key(clientId), value, 'PX', CONNECTED_MS]);
  }

  expire(clientId: string, afterSeconds: number, inFlight: readonly PushInFlight[]): void {
    const ms = Math.min(afterSeconds, SESSION_SECONDS_MAX) * 1000;
    void this.link.execute('pexpire', [this.#key(clientId), ms]);
    if (inFlight.length === 0 || ms === 0) return;
    const value = inFlight.map(({ packetId, id }) => `${packetId}:${id}`).join(',');
    void this.link.execute('set', [this.#sentKey(clientId), value, 'PX', ms]);
  }

  async #find(clientId: string): Promise<MqttSession | null | Rejection> {
    const [key, sentKey] = [this.#key(clientId), this.#sentKey(clientId)];
    const found = await this.link.execute<(string | null)[]>('mget', [key, sentKey]);
    if (found.type !== 'done') return unavailable(found);
    const [subscriptions, sent] = found.reply;
    if (typeof sent === 'string') void this.link.execute('del', [sentKey]);
    if (typeof subscriptions !== 'string') return null;
    void this.link.execute('pexpire', [key, CONNECTED_MS]);
    return {
      isPresent: true,
      subscriptions: parseSubscriptions(subscriptions),
      inFlight: parseInFlight(sent ?? ''),
    };
  }

  /** Stores a session without subscriptions, which exists as well [MQTT-3.2.2-3]. */
  async #create(
    clientId: string,
    isClean: boolean,
    isPersistent: boolean,
  ): Promise<Rejection | undefined> {
    if (!isPersistent && !isClean) return undefined;
    const [key, sentKey] = [this.#key(clientId), this.#sentKey(clientId)];
    const stored = isPersistent
      ? await this.link.execute('set', [key, '', 'PX', CONNECTED_MS])
      : await this.link.execute('del', [key, sentKey]);
    if (isPersistent && isClean) void this.link.execute('del', [sentKey]);
    return stored.type === 'done' ? undefined : unavailable(stored);
  }

  #key(clientId: string): string {
    return `${this.channelOf(clientId)}:sub:${clientId}`;
  }

  #sentKey(clientId: string): string {
    return `${this.channelOf(clientId)}:sent:${clientId}`;
  }
}

/** Ignores text that no edge has written. */
function parseSubscriptions(value: string): MqttSubscription[] {
  return [...value.matchAll(/(\d+):([01])/g)].map(([, hash, qos]) => ({
    filterHash: Number(hash),
    qos: Number(qos) as GrantedQos,
  }));
}

/** Ignores text that no edge has written. */
function parseInFlight(value: string): PushInFlight[] {
  return [...value.matchAll(/(\d+):(\d+-\d+)/g)].map(([, packetId, id]) => ({
    packetId: Number(packetId),
    id: id!,
  }));
}

function unavailable(outcome: Exclude<Outcome<unknown>, { type: 'done' }>): Rejection {
  return rejection(
    'REDIS_UNAVAILABLE',
    `the MQTT session could not be read or stored: ${outcome.reason}; retry`,
  );
}
