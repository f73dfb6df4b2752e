/** Addresses, timeouts, reconnection and logging, common to all connections to Redis. */
import type { Cluster, Redis, RedisOptions } from 'ioredis';
import { backoffMs } from '../process/backoff.js';
import type { Logger } from '../process/log.js';

/** Address of a node, and the credentials that all nodes share. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly db: number;
  readonly isTls: boolean;
}

const DEFAULT_PORT = 6379;
const CONNECT_MS_MAX = 2_000;
/** Timeout of a command. */
export const COMMAND_MS_MAX = 2_000;
/** A server that owes a reply and sends nothing for this long is dead, even if TCP is connected. */
export const SILENCE_MS_MAX = 5_000;
/** Longest wait for the peer to close its side of a connection that we closed. */
const DISCONNECT_MS_MAX = 500;
/** Lower than the bound elsewhere, because a disconnected subscriber misses pushes. */
const RECONNECT_MS_MAX = 1_000;

export function parseRedisUrl(text: string): Endpoint {
  const url = new URL(text);
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port) || DEFAULT_PORT,
    username: decodeURIComponent(url.username) || undefined,
    password: decodeURIComponent(url.password) || undefined,
    db: Number(url.pathname.slice(1)),
    isTls: url.protocol === 'rediss:',
  };
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
    db: endpoint.db,
    ...(endpoint.username && { username: endpoint.username }),
    ...(endpoint.password && { password: endpoint.password }),
    ...(endpoint.isTls && { tls: { servername: endpoint.host } }),
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
