/**
 * The subscriptions of persistent MQTT sessions in Redis, so that a session is found by whichever
 * edge its client comes to:
 *
 *   ll:{tag}:sub:<clientId>   string; `<hash of the filter>:<granted QoS>`, comma-separated; maybe empty
 *   ll:{tag}:sent:<clientId>  string; what was in flight when the last connection ended, if anything:
 *                             `<packet identifier of the first>:<id>,<id>…`
 *
 * What the session has not confirmed is the client's inbox, which all protocols share. Read when a
 * client comes, written when a session begins or its subscriptions change and when a client goes that
 * has not confirmed everything, never on the way of a push.
 */
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Outcome } from '../../common/redis/execute.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import type {
  GrantedQos,
  MqttSession,
  MqttSessionStore,
  MqttSubscription,
  SessionOptions,
} from '../protocol/mqtt/session-store.js';
import type { InFlight } from '../protocol/mqtt/window.js';

/**
 * How long a subscription is kept of a client that is connected, or whose edge has died before it
 * could say that it is not: beyond any connection that lives, and not for ever.
 */
const CONNECTED_MS = 30 * 24 * 3600 * 1000;
/** How long a session is kept at most when its client is away. */
export const SESSION_SECONDS_MAX = 7 * 24 * 3600;

const NEW: MqttSession = { isPresent: false, subscriptions: [] };

export class MqttSessions implements MqttSessionStore {
  constructor(
    readonly link: Pick<RedisLink, 'execute'>,
    /** The tag of a client's shard. */
    readonly tagOf: (clientId: string) => string,
  ) {}

  async open(
    clientId: string,
    { isClean, isPersistent }: SessionOptions,
  ): Promise<MqttSession | Rejection> {
    const found = isClean ? null : await this.#find(clientId);
    return found ?? (await this.#begin(clientId, isClean, isPersistent)) ?? NEW;
  }

  store(clientId: string, subscriptions: readonly MqttSubscription[]): void {
    const value = subscriptions.map(({ filterHash, qos }) => `${filterHash}:${qos}`).join(',');
    void this.link.execute('set', [this.#key(clientId), value, 'PX', CONNECTED_MS]);
  }

  expire(clientId: string, afterSeconds: number, inFlight: InFlight | undefined): void {
    const ms = Math.min(afterSeconds, SESSION_SECONDS_MAX) * 1000;
    void this.link.execute('pexpire', [this.#key(clientId), ms]);
    if (inFlight === undefined || ms === 0) return;
    const value = `${inFlight.packetId}:${inFlight.ids.join(',')}`;
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

  /** A session without subscriptions is one, too [MQTT-3.2.2-3]. */
  async #begin(
    clientId: string,
    isClean: boolean,
    isPersistent: boolean,
  ): Promise<Rejection | undefined> {
    if (!isPersistent && !isClean) return undefined;
    const [key, sentKey] = [this.#key(clientId), this.#sentKey(clientId)];
    const begun = isPersistent
      ? await this.link.execute('set', [key, '', 'PX', CONNECTED_MS])
      : await this.link.execute('del', [key, sentKey]);
    if (isPersistent && isClean) void this.link.execute('del', [sentKey]);
    return begun.type === 'done' ? undefined : unavailable(begun);
  }

  #key(clientId: string): string {
    return `ll:{${this.tagOf(clientId)}}:sub:${clientId}`;
  }

  #sentKey(clientId: string): string {
    return `ll:{${this.tagOf(clientId)}}:sent:${clientId}`;
  }
}

/** What was not written by an edge is no subscription. */
function parseSubscriptions(value: string): MqttSubscription[] {
  return [...value.matchAll(/(\d+):([01])/g)].map(([, hash, qos]) => ({
    filterHash: Number(hash),
    qos: Number(qos) as GrantedQos,
  }));
}

function parseInFlight(value: string): InFlight | undefined {
  const [, packetId, ids] = /^(\d+):(\d+-\d+(?:,\d+-\d+)*)$/.exec(value) ?? [];
  return ids === undefined ? undefined : { packetId: Number(packetId), ids: ids.split(',') };
}

function unavailable(outcome: Exclude<Outcome<unknown>, { type: 'done' }>): Rejection {
  return rejection('REDIS_UNAVAILABLE', `the session could not be looked up: ${outcome.reason}`);
}
