/**
 * How a role begins: it waits for Redis, and agrees with the cluster on its settings. That may take as
 * long as it likes, and whatever watches the process must be able to tell that from a dead one: so
 * meanwhile its HTTP port answers, alive and not ready, and says what is waited for.
 */
import type { SharedConfig } from '../process/config.js';
import { createHttpServer, listenHttp } from '../process/http-server.js';
import type { Logger } from '../process/log.js';
import type { Metrics } from '../process/metrics.js';
import { openRedis, type RedisLink } from '../redis/redis-link.js';
import { agreeOnSettings, type ClusterSettings } from './cluster-settings.js';

type RedisConfig = Pick<SharedConfig, 'redisUrls' | 'redisSentinelMaster'>;

export interface JoinOptions {
  readonly config: RedisConfig & ClusterSettings;
  /** Shown by CLIENT LIST; such as `edge-1`. */
  readonly name: string;
  /** Where health is asked. */
  readonly host: string;
  /** 0: nobody can know the port before the role listens, so nothing answers. */
  readonly port: number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** @throws EnvironmentError when waiting would not help */
export async function joinCluster(options: JoinOptions): Promise<RedisLink> {
  const { config, name, host, port, log, metrics } = options;
  let waitsFor = 'Redis has not answered yet';
  const meanwhile = createHttpServer(metrics, () => [waitsFor]);
  if (port !== 0) await listenHttp(meanwhile, host, port);
  const onWaiting = (reason: string) => {
    waitsFor = `waiting for Redis: ${reason}`;
  };
  const { redisUrls: urls, redisSentinelMaster: sentinelMaster } = config;
  const link = await openRedis({ urls, sentinelMaster, name, log, metrics, onWaiting });
  await agreeOnSettings(link, config, onWaiting);
  await meanwhile.close();
  return link;
}
