/** What every connection to Redis has in common: addresses, patience, manners in the log. */
import type { Cluster, Redis, RedisOptions } from 'ioredis';
import { backoffMs } from '../process/backoff.js';
import type { Logger } from '../process/log.js';

/** A node that can be dialled, with the credentials that all nodes share. */
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
/** A caller waits for no command longer than this. */
export const COMMAND_MS_MAX = 2_000;
/** A peer that owes an answer for so long is dead, whatever TCP believes. */
export const SILENCE_MS_MAX = 5_000;
/** How long a closed connection may linger until its peer closes it, too. */
const DISCONNECT_MS_MAX = 500;
/** Lower than the general bound: pushes are missed while a subscriber is away. */
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
 * Nothing is queued while the connection is down and nothing is sent twice: a caller learns at
 * once, and decides.
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
    // 0 rejects what was in flight when the connection closes; without it, it would hang.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    enableOfflineQueue: false,
  } satisfies RedisOptions;
}

/**
 * Says that a connection is lost, each reason once until it is back. Only messages are logged: an
 * ioredis error carries the arguments of its command, and those of HELLO hold the password.
 */
export function logOutages(client: Redis | Cluster, log: Logger, redis: string): void {
  const reasons = new Set<string>();
  const lose = (reason: string) => {
    if (reasons.has(reason)) return;
    reasons.add(reason);
    log.warn({ redis, reason }, 'Redis connection lost');
  };
  // A rejection by several addresses of one name has no message, only a code.
  client.on('error', (error: NodeJS.ErrnoException) =>
    lose(error.message || error.code || 'error'),
  );
  client.on('reconnecting', () => lose('connection closed'));
  client.on('ready', () => {
    if (reasons.size > 0) log.info({ redis }, 'Redis connection is back');
    reasons.clear();
  });
}

/** Resolves when the socket is gone. */
export async function closeClient(client: Redis | Cluster): Promise<void> {
  const isOpen = client.status === 'ready' || client.status === 'connect';
  // Not `once` of node:events, which rejects when the handshake is cut short with an error.
  const ended = isOpen && new Promise((resolve) => client.once('end', resolve));
  client.disconnect();
  await ended;
}
