/** Addresses, timeouts, reconnection and logging, common to all connections to Redis. */
import type { Cluster, Redis, RedisOptions } from 'ioredis';
import { parseRedisUrl } from '../net/redis-url.js';
import { backoffMs } from '../process/backoff.js';
import type { Logger } from '../process/log.js';
import type { NatMap } from './endpoint/nat-map.js';
import type { RedisTls } from './endpoint/redis-tls.js';

/** Address of a node, and what all nodes share. */
export interface Endpoint extends Shared {
  readonly host: string;
  readonly port: number;
  /** Undefined: the default user. */
  readonly username: string | undefined;
  /** Undefined: no authentication. */
  readonly password: string | undefined;
}

interface Shared {
  /** Undefined: without TLS. */
  readonly tls: RedisTls | undefined;
  readonly natMap: NatMap;
}

const CONNECT_MS_MAX = 2_000;
/** Timeout of a command. */
export const COMMAND_MS_MAX = 2_000;
/** A server that owes a reply and sends nothing for this long is dead, even if TCP is connected. */
export const SILENCE_MS_MAX = 5_000;
/** Longest wait for the peer to close its side of a connection that we closed. */
const DISCONNECT_MS_MAX = 500;
/** Lower than the bound elsewhere, because a disconnected subscriber misses pushes. */
const RECONNECT_MS_MAX = 1_000;

/** @throws Error with what is wrong with the URL */
export function endpointOf(
  url: string,
  { tls, natMap }: Shared = { tls: undefined, natMap: {} },
): Endpoint {
  const { host, port, username, password } = parseRedisUrl(url);
  return { host, port, username, password, tls, natMap };
}

export function addressOf({ host, port }: Endpoint): string {
  return `${host}:${port}`;
}

export function reconnectMs(tries: number): number {
  return backoffMs(tries, RECONNECT_MS_MAX);
}

/**
 * Options for ioredis under which it neither queues a command while disconnected nor sends one
 * twice: the command fails at once, and its caller decides whether to retry.
 */
export function connectionOptions(endpoint: Endpoint, name: string) {
  return {
    host: endpoint.host,
    port: endpoint.port,
    ...(endpoint.username !== undefined && { username: endpoint.username }),
    ...(endpoint.password !== undefined && { password: endpoint.password }),
    ...(endpoint.tls && { tls: endpoint.tls.optionsFor(endpoint.host) }),
    connectionName: name,
    connectTimeout: CONNECT_MS_MAX,
    socketTimeout: SILENCE_MS_MAX,
    disconnectTimeout: DISCONNECT_MS_MAX,
    retryStrategy: reconnectMs,
    // 0 rejects commands in flight when the connection closes; they would hang without it.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    enableOfflineQueue: false,
  } satisfies RedisOptions;
}

/**
 * Logs that a connection is lost, each reason once until it is ready again. Logs only the message
 * of an error: an ioredis error carries the arguments of its command, and HELLO's include the
 * password.
 */
export function logOutages(client: Redis | Cluster, log: Logger, redis: string): void {
  const reasons = new Set<string>();
  const logOnce = (reason: string) => {
    if (reasons.has(reason)) return;
    reasons.add(reason);
    log.warn({ redis, reason }, 'Redis connection lost');
  };
  // An AggregateError (every address of a name failed) has a code and no message.
  client.on('error', (error: NodeJS.ErrnoException) =>
    logOnce(error.message || error.code || 'error'),
  );
  client.on('reconnecting', () => logOnce('connection closed'));
  client.on('ready', () => {
    if (reasons.size > 0) log.info({ redis }, 'Redis connection restored');
    reasons.clear();
  });
}

/** Disconnects. Resolves when the socket is closed. */
export async function closeClient(client: Redis | Cluster): Promise<void> {
  const isOpen = client.status === 'ready' || client.status === 'connect';
  // Not `once` of node:events, which rejects if the handshake fails with an error.
  const ended = isOpen && new Promise((resolve) => client.once('end', resolve));
  client.disconnect();
  await ended;
}
