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
import { addressOf, closeClient, type Endpoint, endpointOf, logOutages } from './connection.js';
import type { NatMap } from './endpoint/nat-map.js';
import { RedisTls, type RedisTlsFiles } from './endpoint/redis-tls.js';
import { execute, type Outcome } from './execute.js';
import { IdFloor } from './identity/id-floor.js';
import { MasterCheck } from './identity/master-check.js';
import { RedisClients, setAddress, untilReady } from './identity/redis-clients.js';
import {
  dialIdentity,
  type IdentifiedConnection,
  type ServerIdentity,
} from './identity/server-identity.js';
import { RedisPipelines } from './pipelines.js';
import { RedisNames } from './redis-names.js';
import { parseInfo, rejectPolicy } from './requirements.js';
import { RequirementsWatch } from './requirements-watch.js';
import { retryUntilAvailable } from './retry.js';
import { fetchSlotMapFromSentinels } from './sentinel.js';
import { type Connector, ShardSubscriber } from './shard-subscriber.js';
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
  readonly idFloor: IdFloor;
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
  /** Whether commands and subscriptions of the channel's master lead to one server. */
  isOneServer(channel: string): boolean;
  close(): Promise<void>;
}

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
export async function openRedis(options: RedisLinkOptions): Promise<RedisLink> {
  const { urls, sentinelMaster, prefix = '', natMap = {}, evictionAccepted } = options;
  const { tlsFiles = { ca: undefined, own: undefined }, name, log, onWaiting } = options;
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
  return connectLink({ seeds, endpoint, isCluster, slotMap, names }, options, () => tls?.close());
}

/** Result of the startup check. */
interface Found {
  readonly seeds: readonly Endpoint[];
  readonly endpoint: Endpoint;
  readonly isCluster: boolean;
  readonly slotMap: SlotMap;
  readonly names: RedisNames;
}

/** @param onClosed called when the link is closed */
async function connectLink(
  found: Found,
  options: RedisLinkOptions,
  onClosed: () => void,
): Promise<RedisLink> {
  const { endpoint, isCluster, slotMap, names } = found;
  const { evictionAccepted, isFsyncedRequired = false, name, log, metrics } = options;
  const requiresMaster = !isCluster;
  const onReadOnly = ({ address, runId }: IdentifiedConnection) =>
    masterCheck.onReadOnly(address, runId);
  const idFloor = new IdFloor();
  const onConnected = (address: string, { runId, timeMs }: ServerIdentity) => {
    if (Number.isNaN(timeMs)) return;
    idFloor.onConnected({ address, runId, serverMs: timeMs }, performance.now());
  };
  const handlers = { onReadOnly, onConnected };
  const clients = new RedisClients({ endpoint, name, requiresMaster, ...handlers, log });
  const commands = await openCommands(found, options, clients, () => masters()[0]!);
  const connect = (address: string) => clients.openSubscriber(address);
  const fetch = slotMapSource(found, options, commands);
  const subscriber = new ShardSubscriber({ slotMap, connect, fetchSlotMap: fetch }, log, metrics);
  const masters = () => subscriber.masters();
  const pipelines = new RedisPipelines(endpoint, name, { requiresMaster, ...handlers });
  const follow = () => {
    pipelines.follow(masters());
    idFloor.follow(masters());
    if (commands instanceof Redis) setAddress(commands, masters()[0]!, endpoint);
  };
  follow();
  const followTimer = setInterval(follow, FOLLOW_INTERVAL_MS);
  const masterCheck: MasterCheck = new MasterCheck({
    masters,
    connections: () => [...clients.connections, ...pipelines.all()],
    dial: (address) => dialIdentity(endpoint, address, `${name}-check`),
    requiresMaster,
    log,
    metrics,
  });
  const executeOn: RedisLink['executeOn'] = (master, command, args) =>
    pipelines.to(master)?.execute(command, args, 'text');
  const requirements = new RequirementsWatch({
    masters,
    run: executeOn,
    required: { evictionAccepted, isFsynced: isFsyncedRequired },
    onTime: (serverMs, askedAtMs) => idFloor.observe(serverMs, askedAtMs, performance.now()),
    log,
    metrics,
  });
  requirements.start();
  const run = executeThrough(pipelines, subscriber, commands);
  return {
    commands,
    subscriber,
    isCluster,
    names,
    requirements,
    masterCheck,
    idFloor,
    log,
    execute: run,
    executeOn,
    publish: (channel, payload) =>
      run<number>('spublish', [channel, payload]).then(toPublishResult),
    connectTo(address) {
      const redis = clients.openSingle(address, `${name}-own`);
      logOutages(redis, log, `${address} (own)`);
      return redis;
    },
    isUp: () => commands.status === 'ready',
    isOneServer: (channel) => masterCheck.isOneServer(subscriber.masterOf(channel) ?? ''),
    async close() {
      clearInterval(followTimer);
      onClosed();
      masterCheck.close();
      requirements.close();
      pipelines.close();
      await Promise.all([subscriber.close(), closeClient(commands)]);
    },
  };
}

/**
 * Opens the client for commands that need no pipeline. Resolves when it is ready.
 * @param master returns the address of a single master
 */
async function openCommands(
  { seeds, endpoint, isCluster }: Found,
  { sentinelMaster, evictionAccepted, name, log }: RedisLinkOptions,
  clients: RedisClients,
  master: () => string,
): Promise<Redis | Cluster> {
  const commands = isCluster
    ? clients.openCluster(seeds)
    : clients.openSingle(addressOf(endpoint), name, master);
  logOutages(commands, log, isCluster ? 'cluster' : (sentinelMaster ?? addressOf(endpoint)));
  await untilReady(commands);
  if (!(commands instanceof Cluster)) return commands;
  try {
    await rejectEvictingMasters(commands, evictionAccepted);
    return commands;
  } catch (error) {
    await closeClient(commands);
    throw error;
  }
}

/** Where newer slot maps come from; null for a standalone Redis, whose map never changes. */
function slotMapSource(
  { seeds, endpoint }: Found,
  { sentinelMaster, name }: RedisLinkOptions,
  commands: Redis | Cluster,
): Connector['fetchSlotMap'] {
  if (commands instanceof Cluster) return (ready) => fetchSlotMap(commands, ready, endpoint);
  if (sentinelMaster === undefined) return null;
  return () => fetchSlotMapFromSentinels(seeds, sentinelMaster, name);
}

/**
 * Runs commands through the pipelines, and through ioredis where one is not ready or redirected.
 */
function executeThrough(
  pipelines: RedisPipelines,
  subscriber: ShardSubscriber,
  commands: Redis | Cluster,
): RedisLink['execute'] {
  const isSingle = commands instanceof Redis;
  // Not async: that would allocate one or two objects more per push.
  return <Reply>(command: string, args: CommandArgs, replyAs?: 'text' | 'bytes') => {
    const pipeline = pipelines.to(subscriber.masterOf(keyOf(command, args)));
    if (pipeline === undefined) return execute<Reply>(commands, command, args, replyAs);
    const running = pipeline.execute<Reply>(command, args, replyAs);
    if (isSingle) return running;
    return running.then((outcome) => {
      const isRedirected = outcome.type === 'rejected' && REDIRECTED.test(outcome.reason);
      return isRedirected ? execute<Reply>(commands, command, args, replyAs) : outcome;
    });
  };
}

function toPublishResult(outcome: Outcome<number>): PublishResult {
  return outcome.type === 'done' ? { type: 'published', receivers: outcome.reply } : outcome;
}

/** The key by which Redis Cluster routes one of the commands that Longline uses. */
function keyOf(command: string, args: CommandArgs): string {
  return String(command === 'eval' || command === 'evalsha' ? args[2] : args[0]);
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
