/**
 * The subscriptions of persistent MQTT sessions in Redis, so that a session is found by whichever
 * edge its client comes to:
 *
 *   ll:{tag}:sub:<clientId>   string; `<hash of the filter>:<granted QoS>`, comma-separated; maybe empty
 *
 * What the session has not confirmed is the client's inbox, which all protocols share. Read when a
 * client comes, written when a session begins or its subscriptions change, never on the way of a push.
 */
import { type Refusal, refusal } from '../common/errors.js';
import type { Outcome } from '../common/redis/execute.js';
import type { RedisLink } from '../common/redis/redis-link.js';
import type { Grant, GrantedQos } from './protocol/mqtt-connections.js';
import type { MqttSession, MqttSessionStore, SessionWish } from './protocol/mqtt-session-store.js';

/**
 * How long a subscription is kept of a client that is connected, or whose edge has died before it
 * could say that it is not: beyond any connection that lives, and not for ever.
 */
const CONNECTED_MS = 30 * 24 * 3600 * 1000;
/** How long a session is kept at most when its client is away. */
export const SESSION_SECONDS_MAX = 7 * 24 * 3600;

const NEW: MqttSession = { isPresent: false, grants: [] };

export class MqttSessions implements MqttSessionStore {
  constructor(
    readonly link: Pick<RedisLink, 'execute'>,
    /** The tag of a client's shard. */
    readonly tagOf: (clientId: string) => string,
  ) {}

  async open(clientId: string, { isClean, isKept }: SessionWish): Promise<MqttSession | Refusal> {
    const found = isClean ? null : await this.#find(clientId);
    if (found === null) return (await this.#begin(clientId, isClean, isKept)) ?? NEW;
    return typeof found === 'string' ? { isPresent: true, grants: parseGrants(found) } : found;
  }

  store(clientId: string, grants: readonly Grant[]): void {
    const value = grants.map(({ filterHash, qos }) => `${filterHash}:${qos}`).join(',');
    void this.link.execute('set', [this.#key(clientId), value, 'PX', CONNECTED_MS]);
  }

  expire(clientId: string, afterSeconds: number): void {
    const seconds = Math.min(afterSeconds, SESSION_SECONDS_MAX);
    void this.link.execute('pexpire', [this.#key(clientId), seconds * 1000]);
  }

  async #find(clientId: string): Promise<string | null | Refusal> {
    const key = this.#key(clientId);
    const found = await this.link.execute<string | null>('get', [key]);
    if (found.type !== 'done') return unavailable(found);
    if (found.reply !== null) void this.link.execute('pexpire', [key, CONNECTED_MS]);
    return found.reply;
  }

  /** A session without subscriptions is one, too [MQTT-3.2.2-3]. */
  async #begin(clientId: string, isClean: boolean, isKept: boolean): Promise<Refusal | undefined> {
    if (!isKept && !isClean) return undefined;
    const key = this.#key(clientId);
    const begun = isKept
      ? await this.link.execute('set', [key, '', 'PX', CONNECTED_MS])
      : await this.link.execute('del', [key]);
    return begun.type === 'done' ? undefined : unavailable(begun);
  }

  #key(clientId: string): string {
    return `ll:{${this.tagOf(clientId)}}:sub:${clientId}`;
  }
}

/** What was not written by an edge is no subscription. */
function parseGrants(value: string): Grant[] {
  return [...value.matchAll(/(\d+):([01])/g)].map(([, hash, qos]) => ({
    filterHash: Number(hash),
    qos: Number(qos) as GrantedQos,
  }));
}

function unavailable(outcome: Exclude<Outcome<unknown>, { type: 'done' }>): Refusal {
  return refusal('REDIS_UNAVAILABLE', `the session could not be looked up: ${outcome.reason}`);
}
