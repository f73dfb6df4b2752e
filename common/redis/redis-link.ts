/**
 * This process's link to Redis: a client for commands and a subscriber for shard channels. It is
 * opened once, at start, and then survives every outage, failover and resharding of Redis.
 *
 * A command never hangs its caller: it is not queued while Redis is unavailable, not sent again if
 * it may have run, and times out after two seconds.
 */
import { Cluster, Redis } from 'ioredis';
import { parseRedisUrl } from '../net/redis-url.js';
import { EnvironmentError } from '../process/lifecycle.js';
import type { Logger } from '../process/log.js';
import type { Metrics } from '../process/metrics.js';
import type { CommandArgs } from './command-buffer.js';
import {
  addressOf,
  COMMAND_MS_MAX,
  closeClient,
  connectionOptions,
  type Endpoint,
  endpointOf,
  logOutages,
  reconnectMs,
} from './connection.js';
import type { NatMap } from './endpoint/nat-map.js';
import { RedisTls, type RedisTlsFiles } from './endpoint/redis-tls.js';
import { execute, type Outcome } from './execute.js';
import { MasterCheck } from './identity/master-check.js';
import {
  dialIdentity,
  type IdentifiedConnection,
  identifyConnection,
} from './identity/server-identity.js';
import { RedisPipelines } from './pipelines.js';
import { RedisNames } from './redis-names.js';
import { parseInfo, rejectPolicy } from './requirements.js';
import { RequirementsWatch } from './requirements-watch.js';
import { retryUntilAvailable } from './retry.js';
import { fetchSlotMapFromSentinels } from './sentinel.js';
import { ShardSubscriber } from './shard-subscriber.js';
import { parseClusterSlots, type SlotMap, splitAddress } from './slot-map.js';
import { runStartupCheck } from './startup-check.js';

export interface RedisLinkOptions {
  /** One server, seeds of one Redis Cluster with the same credentials, or Sentinels. */
  readonly urls: readonly string[];
  /** Name under which the Sentinels monitor the master; undefined: no Sentinels. */
  readonly sentinelMaster?: string | undefined;
  /** For URLs with TLS; undefined: no files. */
  readonly tlsFiles?: RedisTlsFiles | undefined;
  /** Undefined: all servers are reached at the addresses that they announce. */
  readonly natMap?: NatMap | undefined;
  /** Start of all names of keys and channels; undefined: none. */
  readonly prefix?: string | undefined;
  /** The evicting policy of Redis that is accepted; undefined: none. */
  readonly evictionAccepted?: string | undefined;
  /** Pushes are promised to be on disk (accept level `fsynced`) by default. */
  readonly isFsyncedRequired?: boolean | undefined;
  /** Connection name in CLIENT LIST, such as `edge-1`. */
  readonly name: string;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Called with the reason after each failed attempt to open the link. */
  readonly onWaiting?: (reason: string) => void;
}

export type PublishResult =
  /** `receivers` is a hint: Redis was seen to count too few after a failover. */
  | { readonly type: 'published'; readonly receivers: number }
  /** Not published. */
  | { readonly type: 'rejected'; readonly reason: string }
  /** Published or not: the reply was lost or is late. */
  | { readonly type: 'unknown'; readonly reason: string };

export interface RedisLink {
  readonly commands: Redis | Cluster;
  readonly subscriber: ShardSubscriber;
  readonly isCluster: boolean;
  readonly names: RedisNames;
  readonly requirements: RequirementsWatch;
  readonly masterCheck: MasterCheck;
  readonly log: Logger;
  /** Runs a command, and reports whether it ran, did not run, or may have run. Never rejects. */
  execute<Reply>(
    name: string,
    args: CommandArgs,
    replyAs?: 'text' | 'bytes',
  ): Promise<Outcome<Reply>>;
  /** The same on one master; undefined while there is no connection to it. */
  executeOn<Reply>(
    master: string,
    name: string,
    args: CommandArgs,
  ): Promise<Outcome<Reply>> | undefined;
  publish(channel: string, payload: Buffer): Promise<PublishResult>;
  /** Opens a dedicated connection to a master, for commands with state per connection (WAIT). */
  connectTo(address: string): Redis;
  /** True while commands can be sent. */
  isUp(): boolean;
  close(): Promise<void>;
}

/** A redirection costs a round trip; more than this means that the cluster is misconfigured. */
const REDIRECTIONS_MAX = 5;
const RETRY_MS = 100;
const SLOTS_REFRESH_INTERVAL_MS = 3_000;
/** A new master gets its pipeline at the first command to it, or after this time. */
const FOLLOW_INTERVAL_MS = 1_000;
/**
 * Errors of Redis Cluster that ioredis handles: it redirects or retries. The command did not run.
 */
const REDIRECTED = /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN) /;

/**
 * Opens the link. Retries until a server is available.
 * @throws EnvironmentError when a server is too old, evicts keys, or rejects our credentials or
 *   commands
 */
export async function openRedis({
  urls,
  sentinelMaster,
  prefix = '',
  tlsFiles = { ca: undefined, own: undefined },
  natMap = {},
  evictionAccepted,
  isFsyncedRequired = false,
  name,
  log,
  metrics,
  onWaiting,
}: RedisLinkOptions): Promise<RedisLink> {
  const tls = urls.some((url) => parseRedisUrl(url).isTls)
    ? await RedisTls.open(tlsFiles, log)
    : undefined;
  const seeds = urls.map((url) => endpointOf(url, { tls, natMap }));
  const names = new RedisNames(prefix);
  const { endpoint, isCluster, slotMap } = await retryUntilAvailable(
    log,
    () => runStartupCheck(seeds, sentinelMaster, names, name, evictionAccepted),
    onWaiting,
  );
  if (isCluster && sentinelMaster !== undefined) {
    throw new EnvironmentError(
      `${addressOf(endpoint)} is in cluster mode, which has no Sentinels: set no Sentinel master`,
    );
  }
  if (!isCluster && seeds.length > 1 && sentinelMaster === undefined) {
    throw new EnvironmentError(
      `${addressOf(endpoint)} is not in cluster mode, but there are ${seeds.length} Redis URLs: ` +
        'give one URL, or the seeds of one Redis Cluster',
    );
  }
  /** All connections but the pipelines. */
  const identified = new Set<IdentifiedConnection>();
  const identify = (redis: Redis, address: () => string): IdentifiedConnection => {
    const connection = identifyConnection(redis, address, !isCluster);
    identified.add(connection);
    redis.once('end', () => identified.delete(connection));
    return connection;
  };
  const onReadOnly = ({ address, runId }: IdentifiedConnection) =>
    masterCheck.onReadOnly(address, runId);
  const openSingle = (address: string, connectionName: string, addressNow = () => address) => {
    const redis = connectSingle({ ...endpoint, ...splitAddress(address) }, connectionName, () =>
      onReadOnly(connection),
    );
    const connection = identify(redis, addressNow);
    return redis;
  };
  const commands = isCluster
    ? connectCluster(seeds, name)
    : openSingle(addressOf(endpoint), name, () => subscriber.masters()[0]!);
  if (commands instanceof Cluster) {
    commands.on('+node', (node: Redis) =>
      identify(node, () => `${node.options.host}:${node.options.port}`),
    );
  }
  logOutages(commands, log, isCluster ? 'cluster' : (sentinelMaster ?? addressOf(endpoint)));
  await untilReady(commands);
  if (commands instanceof Cluster) await rejectEvictingMasters(commands, evictionAccepted);
  const subscriber = new ShardSubscriber(
    {
      slotMap,
      connect: (address) => {
        const at = { ...endpoint, ...splitAddress(address) };
        const redis = new Redis(connectionOptions(at, `${name}-subscriber`));
        identify(redis, () => address);
        logOutages(redis, log, `${address} (subscriber)`);
        return redis;
      },
      fetchSlotMap:
        commands instanceof Cluster
          ? (ready) => fetchSlotMap(commands, ready, endpoint)
          : sentinelMaster === undefined
            ? null
            : () => fetchSlotMapFromSentinels(seeds, sentinelMaster, name),
    },
    log,
    metrics,
  );
  const pipelines = new RedisPipelines(endpoint, name, { requiresMaster: !isCluster, onReadOnly });
  const follow = () => {
    const masters = subscriber.masters();
    pipelines.follow(masters);
    if (commands instanceof Redis) setAddress(commands, masters[0]!, tls);
  };
  follow();
  const followTimer = setInterval(follow, FOLLOW_INTERVAL_MS);
  const masterCheck: MasterCheck = new MasterCheck({
    masters: () => subscriber.masters(),
    connections: () => [...identified, ...pipelines.all()],
    dial: (address) => dialIdentity(endpoint, address, `${name}-check`),
    requiresMaster: !isCluster,
    log,
    metrics,
  });
  const executeOn: RedisLink['executeOn'] = (master, command, args) =>
    pipelines.to(master)?.execute(command, args, 'text');
  const requirements = new RequirementsWatch({
    masters: () => subscriber.masters(),
    run: executeOn,
    required: { evictionAccepted, isFsynced: isFsyncedRequired },
    log,
    metrics,
  });
  requirements.start();
  // Not async: that would allocate one or two objects more per push.
  const run: RedisLink['execute'] = <Reply>(
    command: string,
    args: CommandArgs,
    replyAs?: 'text' | 'bytes',
  ) => {
    const pipeline = pipelines.to(subscriber.masterOf(keyOf(command, args)));
    if (pipeline === undefined) return execute<Reply>(commands, command, args, replyAs);
    const running = pipeline.execute<Reply>(command, args, replyAs);
    if (!isCluster) return running;
    return running.then((outcome) => {
      const isRedirected = outcome.type === 'rejected' && REDIRECTED.test(outcome.reason);
      return isRedirected ? execute<Reply>(commands, command, args, replyAs) : outcome;
    });
  };
  return {
    commands,
    subscriber,
    isCluster,
    names,
    requirements,
    masterCheck,
    log,
    execute: run,
    executeOn,
    publish: (channel, payload) =>
      run<number>('spublish', [channel, payload]).then(toPublishResult),
    connectTo(address) {
      const redis = openSingle(address, `${name}-own`);
      logOutages(redis, log, `${address} (own)`);
      return redis;
    },
    isUp: () => commands.status === 'ready',
    async close() {
      clearInterval(followTimer);
      tls?.close();
      masterCheck.close();
      requirements.close();
      pipelines.close();
      await Promise.all([subscriber.close(), closeClient(commands)]);
    },
  };
}

function toPublishResult(outcome: Outcome<number>): PublishResult {
  return outcome.type === 'done' ? { type: 'published', receivers: outcome.reply } : outcome;
}

/** The key by which Redis Cluster routes one of the commands that Longline uses. */
function keyOf(command: string, args: CommandArgs): string {
  return String(command === 'eval' || command === 'evalsha' ? args[2] : args[0]);
}

function connectSingle(endpoint: Endpoint, name: string, onReadOnly: () => void): Redis {
  return new Redis({
    ...connectionOptions(endpoint, name),
    commandTimeout: COMMAND_MS_MAX,
    // A demoted master keeps its connections; reconnecting resolves the name to the new master.
    reconnectOnError: (error) => {
      const isReadOnly = error.message.startsWith('READONLY');
      if (isReadOnly) onReadOnly();
      return isReadOnly;
    },
  });
}

/** Makes a client dial another address, if it does not do so already. */
function setAddress(redis: Redis, address: string, tls: RedisTls | undefined): void {
  const { options } = redis;
  const { host, port } = splitAddress(address);
  if (options.host === host && options.port === port) return;
  Object.assign(options, { host, port });
  if (tls) options.tls = tls.optionsFor(host);
  redis.disconnect(true);
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

async function untilReady(client: Redis | Cluster): Promise<void> {
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

/**
 * The startup check has read one server; here are the masters that can be reached.
 * @throws EnvironmentError when one of them evicts keys
 */
async function rejectEvictingMasters(
  cluster: Cluster,
  evictionAccepted: string | undefined,
): Promise<void> {
  const ready = cluster.nodes('master').filter(({ status }) => status === 'ready');
  await Promise.all(
    ready.map(async (node) => {
      const info = await node.info('memory').catch(() => '');
      const problem = rejectPolicy(parseInfo(info).get('maxmemory_policy'), evictionAccepted);
      if (problem === undefined) return;
      throw new EnvironmentError(`${node.options.host}:${node.options.port}: ${problem}`);
    }),
  );
}

async function fetchSlotMap(
  cluster: Cluster,
  ready: { readonly redis: Redis; readonly address: string } | undefined,
  seed: Endpoint,
): Promise<SlotMap> {
  const { host, natMap } = seed;
  if (ready === undefined) return parseClusterSlots(await cluster.cluster('SLOTS'), host, natMap);
  const { redis, address } = ready;
  const [info, slots] = await Promise.all([redis.cluster('INFO'), redis.cluster('SLOTS')]);
  // Such a node may be partitioned together with this process, and its map be outdated.
  if (info.includes('cluster_state:fail'))
    throw new Error(`${address} says that the cluster is down`);
  return parseClusterSlots(slots, splitAddress(address).host, natMap);
}
