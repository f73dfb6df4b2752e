/**
 * The subscriptions of persistent MQTT sessions in Redis, so that a session is found by whichever
 * edge its client comes to:
 *
 *   ll:{tag}:sub:<clientId>   string; `<hash of the filter>:<granted QoS>`, comma-separated
 *
 * What the session has not confirmed is the client's inbox, which all protocols share. Read when a
 * client comes that wants its session, written when its subscriptions change, never on the way of a
 * push.
 */
import { type Refusal, refusal } from '../common/errors.js';
import type { Outcome } from '../common/redis/execute.js';
import type { RedisLink } from '../common/redis/redis-link.js';
import type { Grant, GrantedQos } from './protocol/mqtt-connections.js';
import type { MqttSessionStore } from './protocol/mqtt-session-store.js';

/**
 * How long a subscription is kept of a client that is connected, or whose edge has died before it
 * could say that it is not: beyond any connection that lives, and not for ever.
 */
const CONNECTED_SECONDS = 30 * 24 * 3600;
/** How long a session is kept at most when its client is away. */
export const SESSION_SECONDS_MAX = 7 * 24 * 3600;

export class MqttSessions implements MqttSessionStore {
  constructor(
    readonly link: Pick<RedisLink, 'execute'>,
    /** The tag of a client's shard. */
    readonly tagOf: (clientId: string) => string,
  ) {}

  async find(clientId: string): Promise<readonly Grant[] | Refusal> {
    const args = [this.#key(clientId), 'EX', CONNECTED_SECONDS];
    const found = await this.link.execute<string | null>('getex', args);
    return found.type === 'done' ? parseGrants(found.reply ?? '') : unavailable(found);
  }

  async drop(clientId: string): Promise<Refusal | undefined> {
    const dropped = await this.link.execute<number>('unlink', [this.#key(clientId)]);
    return dropped.type === 'done' ? undefined : unavailable(dropped);
  }

  store(clientId: string, grants: readonly Grant[]): void {
    const value = grants.map(({ filterHash, qos }) => `${filterHash}:${qos}`).join(',');
    void this.link.execute('set', [this.#key(clientId), value, 'EX', CONNECTED_SECONDS]);
  }

  expire(clientId: string, afterSeconds: number): void {
    const seconds = Math.min(afterSeconds, SESSION_SECONDS_MAX);
    void this.link.execute('expire', [this.#key(clientId), seconds]);
  }

  #key(clientId: string): string {
    return `ll:{${this.tagOf(clientId)}}:sub:${clientId}`;
  }
}

/** What was not written by an edge is no session. */
function parseGrants(value: string): Grant[] {
  return [...value.matchAll(/(\d+):([01])/g)].map(([, hash, qos]) => ({
    filterHash: Number(hash),
    qos: Number(qos) as GrantedQos,
  }));
}

function unavailable(outcome: Exclude<Outcome<unknown>, { type: 'done' }>): Refusal {
  return refusal('REDIS_UNAVAILABLE', `the session could not be looked up: ${outcome.reason}`);
}
