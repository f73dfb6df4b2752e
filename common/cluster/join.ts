/**
 * Startup of a role: it waits for Redis, and compares its settings with the cluster's. The wait has
 * no limit, and a supervisor must be able to tell it from a hang. So the role's HTTP port already
 * serves health checks: alive, not ready, and the reason.
 */

import type { HttpConnections } from '../http/connections.js';
import { closeHttp, createHttpServer, listenHttp } from '../http/server.js';
import type { SharedConfig } from '../process/config.js';
import type { Logger } from '../process/log.js';
import type { Metrics } from '../process/metrics.js';
import { parseNatMap } from '../redis/endpoint/nat-map.js';
import { openRedis, type RedisLink } from '../redis/redis-link.js';
import { reportClock } from './clocks/clock-reports.js';
import { shareIdFloor } from './clocks/shared-id-floor.js';
import { agreeOnSettings, type ClusterSettings, watchSettings } from './cluster-settings.js';

type RedisConfig = Pick<
  SharedConfig,
  | 'redisUrls'
  | 'redisSentinelMaster'
  | 'redisTlsFiles'
  | 'redisNatMap'
  | 'redisPrefix'
  | 'redisEvictionAccepted'
>;

export interface JoinOptions {
  readonly config: RedisConfig & ClusterSettings;
  /** Connection name in CLIENT LIST, such as `edge-1`. */
  readonly name: string;
  /** Host of the HTTP port with the health checks. */
  readonly host: string;
  /**
   * 0 (any free port): nothing is served, as no supervisor knows the port before the role listens.
   */
  readonly port: number;
  /** Pushes are promised to be on disk (accept level `fsynced`) by default. */
  readonly isFsyncedRequired?: boolean;
  /** Connections to the role's HTTP server. */
  readonly httpConnections: HttpConnections;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** @throws EnvironmentError when Redis rejects the role for good, or a setting differs */
export async function joinCluster(options: JoinOptions): Promise<RedisLink> {
  const { config, name, host, port, httpConnections, log, metrics } = options;
  let notReadyReason = 'Redis has not answered yet';
  const healthServer = createHttpServer(metrics, httpConnections, () => ({
    notReady: [notReadyReason],
    degraded: [],
  }));
  if (port !== 0) await listenHttp(healthServer, host, port);
  const onWaiting = (reason: string) => {
    notReadyReason = `waiting for Redis: ${reason}`;
  };
  const link = await openRedis({
    urls: config.redisUrls,
    sentinelMaster: config.redisSentinelMaster,
    tlsFiles: config.redisTlsFiles,
    natMap: parseNatMap(config.redisNatMap),
    prefix: config.redisPrefix,
    evictionAccepted: config.redisEvictionAccepted,
    isFsyncedRequired: options.isFsyncedRequired,
    name,
    log,
    metrics,
    onWaiting,
  });
  await agreeOnSettings(link, config, onWaiting);
  watchSettings(link, config);
  await shareIdFloor(link);
  reportClock(link, name);
  await closeHttp(healthServer);
  return link;
}
