/**
 * The clients of ioredis, each of which knows to which server it leads: it carries what a pipeline
 * does not (topology, redirections, subscriptions, leadership).
 */
import { Cluster, Redis } from 'ioredis';
import type { Logger } from '../../process/log.js';
import {
  COMMAND_MS_MAX,
  connectionOptions,
  type Endpoint,
  logOutages,
  reconnectMs,
} from '../connection.js';
import { splitAddress } from '../slot-map.js';
import {
  type IdentifiedConnection,
  identifyConnection,
  type ServerIdentity,
} from './server-identity.js';

/** A redirection costs a round trip; more than this means that the cluster is misconfigured. */
const REDIRECTIONS_MAX = 5;
const RETRY_MS = 100;
const SLOTS_REFRESH_INTERVAL_MS = 3_000;
export interface RedisClientsOptions {
  /** Any node, with what all nodes share. */
  readonly endpoint: Endpoint;
  /** Start of the connection names in CLIENT LIST. */
  readonly name: string;
  readonly requiresMaster: boolean;
  /** A server has rejected a write as a replica does. */
  readonly onReadOnly: (connection: IdentifiedConnection) => void;
  /** Called before the first command of each connection. */
  readonly onConnected: (address: string, server: ServerIdentity) => void;
  readonly log: Logger;
}

export class RedisClients {
  readonly #connections = new Set<IdentifiedConnection>();

  constructor(readonly options: RedisClientsOptions) {}

  /** All connections that are open or dialling. */
  get connections(): Iterable<IdentifiedConnection> {
    return this.#connections;
  }

  /** Opens a client for commands. @param addressNow returns the address that it dials */
  openSingle(address: string, name: string, addressNow = () => address): Redis {
    const { onReadOnly } = this.options;
    const redis = new Redis({
      ...connectionOptions(this.#endpointAt(address), name),
      commandTimeout: COMMAND_MS_MAX,
      // A demoted master keeps its connections; reconnecting resolves the name to the new master.
      reconnectOnError: (error) => {
        const isReadOnly = error.message.startsWith('READONLY');
        if (isReadOnly) onReadOnly(connection);
        return isReadOnly;
      },
    });
    const connection = this.#identify(redis, addressNow);
    return redis;
  }

  openSubscriber(address: string): Redis {
    const { name, log } = this.options;
    const redis = new Redis(connectionOptions(this.#endpointAt(address), `${name}-subscriber`));
    this.#identify(redis, () => address);
    logOutages(redis, log, `${address} (subscriber)`);
    return redis;
  }

  openCluster(seeds: readonly Endpoint[]): Cluster {
    const cluster = connectCluster(seeds, this.options.name);
    cluster.on('+node', (node: Redis) =>
      this.#identify(node, () => `${node.options.host}:${node.options.port}`),
    );
    return cluster;
  }

  #endpointAt(address: string): Endpoint {
    return { ...this.options.endpoint, ...splitAddress(address) };
  }

  #identify(redis: Redis, address: () => string): IdentifiedConnection {
    const { requiresMaster, onConnected } = this.options;
    const connection = identifyConnection(redis, address, requiresMaster, onConnected);
    this.#connections.add(connection);
    redis.once('end', () => this.#connections.delete(connection));
    return connection;
  }
}

/** Makes a client dial another address, if it does not do so already. */
export function setAddress(redis: Redis, address: string, { tls }: Endpoint): void {
  const { options } = redis;
  const { host, port } = splitAddress(address);
  if (options.host === host && options.port === port) return;
  Object.assign(options, { host, port });
  if (tls) options.tls = tls.optionsFor(host);
  redis.disconnect(true);
}

/** Resolves when commands can be sent. */
export async function untilReady(client: Redis | Cluster): Promise<void> {
  if (client.status !== 'ready') await new Promise((resolve) => client.once('ready', resolve));
  if (client instanceof Redis) return;
  // A node that cannot be reached emits `end`, and is not waited for.
  const connecting = client.nodes('master').filter(({ status }) => status !== 'ready');
  await Promise.all(
    connecting.map(
      (node) => new Promise((resolve) => node.once('ready', resolve).once('end', resolve)),
    ),
  );
}

function connectCluster(seeds: readonly Endpoint[], name: string): Cluster {
  // The cluster client sets the addresses of nodes and reconnects to them.
  const {
    host: _host,
    port: _port,
    retryStrategy: _retry,
    tls: _tls,
    ...nodeOptions
  } = connectionOptions(seeds[0]!, name);
  const cluster = new Cluster(
    seeds.map(({ host, port }) => ({ host, port })),
    {
      redisOptions: {
        ...nodeOptions,
        commandTimeout: COMMAND_MS_MAX,
      },
      enableOfflineQueue: false,
      // The check queries a random node, and starts over if that node is not connected yet. A
      // cluster that is down answers every command with CLUSTERDOWN.
      enableReadyCheck: false,
      clusterRetryStrategy: reconnectMs,
      maxRedirections: REDIRECTIONS_MAX,
      retryDelayOnClusterDown: RETRY_MS,
      retryDelayOnTryAgain: RETRY_MS,
      // 0: never. ioredis would resend commands that may have run before the connection was lost.
      retryDelayOnFailover: 0,
      // ioredis 6.0.0 has no default, contrary to its documentation.
      slotsRefreshInterval: SLOTS_REFRESH_INTERVAL_MS,
      slotsRefreshTimeout: COMMAND_MS_MAX,
      natMap: seeds[0]!.natMap,
      // Keeps host names: certificates are issued for names, not for addresses.
      dnsLookup: (host, callback) => callback(null, host),
    },
  );
  const { tls } = seeds[0]!;
  // A certificate is issued for the host of its node.
  cluster.on('+node', (node: Redis) => {
    if (tls) node.options.tls = tls.optionsFor(node.options.host!);
  });
  // ioredis connects to a node at its first command and rejects all others until it is ready. So
  // connect when the node is added, but after the command of a redirection that may have added it.
  cluster.on('+node', (node: Redis) => setImmediate(() => connectNode(node)));
  return cluster;
}

function connectNode(node: Redis): void {
  const isReplica = node.options.readOnly;
  if (node.status === 'wait' && !isReplica) node.connect().catch(() => {});
}
