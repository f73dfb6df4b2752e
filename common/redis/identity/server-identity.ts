/**
 * Identifies the server at the other end of a connection to Redis, and whether it is a master. The
 * name in a URL does not say: it may lead to another server than before, while connections stay
 * where they are.
 */
import { Redis } from 'ioredis';
import { connectionOptions, type Endpoint } from '../connection.js';
import { splitAddress } from '../slot-map.js';

export interface ServerIdentity {
  /** Unique per start of the server; '' if the server hides it. */
  readonly runId: string;
  readonly isMaster: boolean;
  /** Unix ms by its clock; NaN if the server hides it. */
  readonly timeMs: number;
}

/** @param info a reply to INFO, by field */
export function identityFrom(info: Readonly<Record<string, string | undefined>>): ServerIdentity {
  const timeMs = Math.floor(Number(info.server_time_usec ?? Number.NaN) / 1_000);
  return { runId: info.run_id ?? '', isMaster: info.role !== 'slave', timeMs };
}

/** The same from the text of the reply. */
export function parseIdentity(text: string): ServerIdentity {
  const field = (name: string) => new RegExp(`^${name}:(\\S+)`, 'm').exec(text)?.[1];
  const [run_id, role] = [field('run_id'), field('role')];
  return identityFrom({ run_id, role, server_time_usec: field('server_time_usec') });
}

/** A connection that knows which server is at its other end. */
export interface IdentifiedConnection {
  /** `host:port` that it dials. */
  readonly address: string;
  /** Run id of the server; '' while it is not connected, or if the server hides it. */
  readonly runId: string;
  /** It was told to dial again, and has not closed yet. */
  readonly isLeaving: boolean;
  /** Closes the connection and dials again. */
  redial(): void;
}

/**
 * Makes a client of ioredis learn the identity of its server with each connect. To be called in the
 * turn in which the client was created.
 * @param addressOf returns the address that it dials
 * @param requiresMaster whether a connection to a replica is closed before it is ready, and dialled
 *   again with backoff
 * @param onConnected called before the first command of each connection
 */
export function identifyConnection(
  redis: Redis,
  addressOf: () => string,
  requiresMaster: boolean,
  onConnected: (address: string, server: ServerIdentity) => void,
): IdentifiedConnection {
  let runId = '';
  let isLeaving = false;
  // It decides on the reply to INFO with which ioredis ends each connect.
  // biome-ignore lint/complexity/useLiteralKeys: `connector` is private.
  const connector = redis['connector'];
  connector.check = (info: Record<string, string>) => {
    const identity = identityFrom(info);
    if (requiresMaster && !identity.isMaster) return false;
    runId = identity.runId;
    onConnected(`${redis.options.host}:${redis.options.port}`, identity);
    return true;
  };
  redis.on('close', () => {
    runId = '';
    isLeaving = false;
  });
  return {
    get address() {
      return addressOf();
    },
    get runId() {
      return runId;
    },
    get isLeaving() {
      return isLeaving;
    },
    redial() {
      isLeaving = true;
      redis.disconnect(true);
    },
  };
}

/** Dials `address` anew. Undefined: no server answers there. */
export async function dialIdentity(
  endpoint: Endpoint,
  address: string,
  name: string,
): Promise<ServerIdentity | undefined> {
  const redis = new Redis({
    ...connectionOptions({ ...endpoint, ...splitAddress(address) }, name),
    lazyConnect: true,
    retryStrategy: () => null,
    enableReadyCheck: false,
  });
  // `connect` rejects as well.
  redis.on('error', () => {});
  try {
    await redis.connect();
    return parseIdentity(await redis.info());
  } catch {
    return undefined;
  } finally {
    redis.disconnect();
  }
}
