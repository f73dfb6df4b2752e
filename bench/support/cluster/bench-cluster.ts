/** A cluster for one bench: on this machine, on free ports, with a Redis of its own. */
import { LocalCluster, type LocalClusterOptions } from '../../../cli/local/cluster.js';
import { type LocalRedis, startRedis } from '../../../cli/local/redis.js';
import type { Pids } from '../processes/cpu.js';
import { progress } from '../report.js';

/** An edge needs a few seconds; the clusters with a dozen edges share two cores. */
const READY_MS_MAX = 120_000;

export interface BenchCluster {
  readonly cluster: LocalCluster;
  readonly redis: LocalRedis;
  stop(): Promise<void>;
}

type ClusterOptions = Pick<LocalClusterOptions, 'edges' | 'routers' | 'controls' | 'launchOf'>;

export type BenchClusterOptions = ClusterOptions & {
  /** Listening address of Redis; the loopback by default. */
  readonly redisHost?: string;
  /** A command and its arguments, which becomes Redis (`exec`). */
  readonly redisCommand?: readonly string[];
  /** Arguments of Redis. */
  readonly redisArgs?: readonly string[];
  /** Settings of every role. */
  readonly env?: NodeJS.ProcessEnv;
};

/** Resolves when the cluster is ready. Errors that roles log are printed on standard error. */
export async function startBenchCluster(options: BenchClusterOptions): Promise<BenchCluster> {
  const { redisHost: host, redisCommand: command, redisArgs: args, ...roles } = options;
  const redis = await startRedis({
    onProgress: progress,
    ...(host && { host }),
    ...(command && { command }),
    ...(args && { args }),
  });
  let cluster: LocalCluster | undefined;
  const stop = async () => {
    await cluster?.stop();
    await redis.stop();
  };
  try {
    cluster = await LocalCluster.start({
      ...roles,
      redisUrl: redis.url,
      ports: 'free',
      restart: false,
      env: { LONGLINE_LOG_LEVEL: 'error', ...options.env },
      onOutput: (name, line) => progress(`${name}: ${line}`),
    });
    await cluster.waitUntilReady(READY_MS_MAX);
  } catch (error) {
    await stop();
    throw error;
  }
  return { cluster, redis, stop };
}

/** Runs `measure` on a fresh cluster and stops the cluster, also when `measure` fails. */
export async function withCluster<Result>(
  options: BenchClusterOptions,
  measure: (cluster: LocalCluster, redis: LocalRedis) => Promise<Result>,
): Promise<Result> {
  const { cluster, redis, stop } = await startBenchCluster(options);
  try {
    return await measure(cluster, redis);
  } finally {
    await stop();
  }
}

/** All processes of the cluster. */
export function pidsOf(cluster: LocalCluster, redis: LocalRedis): Pids {
  const roles = cluster.names.map((name) => [name, cluster.pid(name)!]);
  return Object.fromEntries([...roles, ['redis', redis.pid]]);
}
