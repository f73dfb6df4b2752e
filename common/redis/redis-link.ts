/**
 * This process's link to Redis: a client for commands and a subscriber for shard channels. It is
 * opened once, at the start, and then survives whatever Redis does.
 *
 * A command never hangs its caller: nothing is queued while Redis is away, nothing that may have
 * run is sent again, and no answer is waited for longer than two seconds.
 */
import { Cluster, Redis } from 'ioredis';
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
  logOutages,
  parseRedisUrl,
  reconnectMs,
} from './connection.js';
import { execute, type Outcome } from './execute.js';
import { RedisPipelines } from './pipelines.js';
import { retryUntilAvailable } from './retry.js';
import { askSlotMapOf, type ViaSentinels, viaSentinels } from './sentinel.js';
import { ShardSubscriber } from './shard-subscriber.js';
import { parseClusterSlots, type SlotMap, splitAddress } from './slot-map.js';
import { checkAllAtStartup } from './startup-check.js';

export interface RedisLinkOptions {
  /** One server, seeds of one Redis Cluster with the same credentials, or Sentinels. */
  readonly urls: readonly string[];
  /** The name of the master that the Sentinels watch; undefined: there are none. */
  readonly sentinelMaster?: string | undefined;
  /** Shown by CLIENT LIST; such as `edge-1`. */
  readonly name: string;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Hears why Redis is still waited for. */
  readonly onWaiting?: (reason: string) => void;
}

export type PublishResult =
  /** `receivers` is a hint: after a failover Redis was seen to count too few. */
  | { readonly type: 'published'; readonly receivers: number }
  /** Surely not published. */
  | { readonly type: 'rejected'; readonly reason: string }
  /** It may have been published. */
  | { readonly type: 'unknown'; readonly reason: string };

export interface RedisLink {
  readonly commands: Redis | Cluster;
  readonly subscriber: ShardSubscriber;
  readonly isCluster: boolean;
  readonly log: Logger;
  /** Runs a command and says exactly what became of it. Never rejects. */
  execute<Reply>(
    name: string,
    args: CommandArgs,
    replyAs?: 'text' | 'bytes',
  ): Promise<Outcome<Reply>>;
  publish(channel: string, payload: Buffer): Promise<PublishResult>;
  /** A connection of the caller's own to one master, for commands that concern a connection. */
  connectTo(address: string): Redis;
  /** Whether commands can be sent at the moment. */
  isUp(): boolean;
  close(): Promise<void>;
}

/** A redirection costs a round trip; a cluster that needs more of them is not in order. */
const REDIRECTIONS_MAX = 5;
const RETRY_MS = 100;
const SLOTS_REFRESH_INTERVAL_MS = 3_000;
/** How soon a new master gets a pipeline, should no command ask for it earlier. */
const FOLLOW_INTERVAL_MS = 1_000;
/** Answers of Redis Cluster that ioredis knows how to follow. The command did not run. */
const REDIRECTED = /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN) /;

/**
 * Waits for as long as no server answers.
 * @throws EnvironmentError when a server is too old, or rejects our credentials or commands
 */
export async function openRedis({
  urls,
  sentinelMaster,
  name,
  log,
  metrics,
  onWaiting,
}: RedisLinkOptions): Promise<RedisLink> {
  const seeds = urls.map(parseRedisUrl);
  const { endpoint, isCluster, slotMap } = await retryUntilAvailable(
    log,
    () => checkAllAtStartup(seeds, sentinelMaster, name),
    onWaiting,
  );
  if (isCluster && sentinelMaster !== undefined) {
    throw new EnvironmentError(`${addressOf(endpoint)} is in cluster mode, which has no Sentinels`);
  }
  if (!isCluster && seeds.length > 1 && sentinelMaster === undefined) {
    throw new EnvironmentError(
      `${seeds.length} Redis URLs are seeds of one Redis Cluster, but ${addressOf(endpoint)} is not in cluster mode`,
    );
  }
  const commands = isCluster
    ? connectCluster(seeds, name)
    : connectSingle(
        endpoint,
        name,
        sentinelMaster === undefined ? {} : viaSentinels(seeds, sentinelMaster),
      );
  logOutages(commands, log, isCluster ? 'cluster' : (sentinelMaster ?? addressOf(endpoint)));
  await untilReady(commands);
  const subscriber = new ShardSubscriber(
    {
      slotMap,
      connect: (address) => {
        const at = { ...endpoint, ...splitAddress(address) };
        const redis = new Redis(connectionOptions(at, `${name}-subscriber`));
        logOutages(redis, log, `${address} (subscriber)`);
        return redis;
      },
      askSlotMap:
        commands instanceof Cluster
          ? (ready) => askSlotMap(commands, ready, endpoint)
          : sentinelMaster === undefined
            ? null
            : () => askSlotMapOf(seeds, sentinelMaster, name),
    },
    log,
    metrics,
  );
  const pipelines = new RedisPipelines(endpoint, name);
  pipelines.follow(subscriber.masters());
  const following = setInterval(() => pipelines.follow(subscriber.masters()), FOLLOW_INTERVAL_MS);
  // No async functions here: each would cost every push an object or two.
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
      const isElsewhere = outcome.type === 'rejected' && REDIRECTED.test(outcome.reason);
      return isElsewhere ? execute<Reply>(commands, command, args, replyAs) : outcome;
    });
  };
  return {
    commands,
    subscriber,
    isCluster,
    log,
    execute: run,
    publish: (channel, payload) =>
      run<number>('spublish', [channel, payload]).then(toPublishResult),
    connectTo(address) {
      const redis = connectSingle({ ...endpoint, ...splitAddress(address) }, `${name}-own`);
      logOutages(redis, log, `${address} (own)`);
      return redis;
    },
    isUp: () => commands.status === 'ready',
    async close() {
      clearInterval(following);
      pipelines.close();
      await Promise.all([subscriber.close(), closeClient(commands)]);
    },
  };
}

function toPublishResult(outcome: Outcome<number>): PublishResult {
  return outcome.type === 'done' ? { type: 'published', receivers: outcome.reply } : outcome;
}

/** The key by which Redis Cluster routes a command: of those that are used here. */
function keyOf(command: string, args: CommandArgs): string {
  return String(command === 'eval' || command === 'evalsha' ? args[2] : args[0]);
}

function connectSingle(endpoint: Endpoint, name: string, via: Partial<ViaSentinels> = {}): Redis {
  return new Redis({
    ...connectionOptions(endpoint, name),
    ...via,
    commandTimeout: COMMAND_MS_MAX,
    // A demoted master keeps its connections; a new one finds whoever has its name now.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  });
}

function connectCluster(seeds: readonly Endpoint[], name: string): Cluster {
  // Where a node is and when it is dialled again are the cluster client's business.
  const {
    host: _host,
    port: _port,
    retryStrategy: _retry,
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
      // It asks a random node, and starts all over when that is still being dialled. A cluster that
      // is down says so to every command.
      enableReadyCheck: false,
      clusterRetryStrategy: reconnectMs,
      maxRedirections: REDIRECTIONS_MAX,
      retryDelayOnClusterDown: RETRY_MS,
      retryDelayOnTryAgain: RETRY_MS,
      // 0 turns it off: ioredis would send again what a lost connection may have executed.
      retryDelayOnFailover: 0,
      // ioredis 6.0.0 has no default for it, whatever its documentation says.
      slotsRefreshInterval: SLOTS_REFRESH_INTERVAL_MS,
      slotsRefreshTimeout: COMMAND_MS_MAX,
      // Leaves names as they are: a certificate is for a name, not for an address.
      dnsLookup: (host, callback) => callback(null, host),
    },
  );
  // ioredis dials a node for its first command and rejects all others until it is ready. So dial
  // it when it becomes known, but after the command that a redirection may have brought along.
  cluster.on('+node', (node: Redis) => setImmediate(() => dial(node)));
  return cluster;
}

function dial(node: Redis): void {
  const isReplica = node.options.readOnly;
  if (node.status === 'wait' && !isReplica) node.connect().catch(() => {});
}

async function untilReady(client: Redis | Cluster): Promise<void> {
  if (client.status !== 'ready') await new Promise((resolve) => client.once('ready', resolve));
  if (client instanceof Redis) return;
  // One that cannot be reached ends, and is no reason to wait.
  const dialled = client.nodes('master').filter(({ status }) => status !== 'ready');
  await Promise.all(
    dialled.map(
      (node) => new Promise((resolve) => node.once('ready', resolve).once('end', resolve)),
    ),
  );
}

async function askSlotMap(
  cluster: Cluster,
  ready: { readonly redis: Redis; readonly address: string } | undefined,
  seed: Endpoint,
): Promise<SlotMap> {
  if (ready === undefined) return parseClusterSlots(await cluster.cluster('SLOTS'), seed.host);
  return parseClusterSlots(await ready.redis.cluster('SLOTS'), splitAddress(ready.address).host);
}
