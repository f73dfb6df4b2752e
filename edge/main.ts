/** Starts an edge: settings from the environment, connections to the cluster, ports, signals. */
import { randomUUID } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { linkCredentials } from '../common/auth/grpc-tls.js';
import { type OpenedAuthenticator, openAuthenticator } from '../common/auth/open-authenticator.js';
import { followRedis } from '../common/cluster/assignment-feed.js';
import { joinCluster } from '../common/cluster/join.js';
import { PrivateChannels } from '../common/cluster/private-channels.js';
import { HttpConnections } from '../common/http/connections.js';
import { addReadyRoute, closeHttp, createHttpServer, listenHttp } from '../common/http/server.js';
import { listenableHost } from '../common/net/any-host.js';
import { digestSettings } from '../common/process/agreed-settings.js';
import { buildInfo } from '../common/process/build-info.js';
import { linkMetadata } from '../common/process/grpc-link.js';
import {
  announceListening,
  listenOn,
  runRole,
  stopOnSignals,
  within,
} from '../common/process/lifecycle.js';
import { createLogger } from '../common/process/log.js';
import { MemoryWatch } from '../common/process/memory/memory-watch.js';
import { Metrics } from '../common/process/metrics.js';
import { openFilesMax } from '../common/process/open-files.js';
import {
  combineReadiness,
  type Readiness,
  type ReadinessCheck,
} from '../common/process/readiness.js';
import { openTracer } from '../common/process/tracing/open-tracer.js';
import { trimMemory } from '../common/transport/native-transport.js';
import type { Hello } from '../proto/gen/longline/v1/edge_session.js';
import { defaultAdvertisedUrl, type EdgeConfig, edgeSettings, parseEdgeConfig } from './config.js';
import { openTlsIdentity } from './device-transport.js';
import { Convergence } from './drain/convergence.js';
import { GOAWAY_STEP_MS } from './drain/shutdown.js';
import { createEdge, type Edge } from './edge.js';
import { startPeriodicTasks } from './periodic-tasks.js';
import { ControlLink } from './report/control-link.js';
import { EventLoopLag } from './report/load.js';
import { RouterPresence } from './report/router-presence.js';
import { measureStats, openMemoryAccount, registerGauges } from './statistics.js';
import { edgeTasks } from './tasks.js';

/** Maximum connections of probes and scrapers, within the descriptors that are not for devices. */
const HTTP_CONNECTIONS_MAX = 256;
/** On a stop, time for the last writes to Redis. */
const REDIS_MS_MAX = 2_000;
/** The same for the last spans to the collector. */
const TRACER_MS_MAX = 1_000;

await runRole(async () => {
  const config = parseEdgeConfig(process.env, openFilesMax());
  const { edgeId, shardCount } = config;
  const host = await listenableHost(config.host);
  const incarnation = randomUUID();
  const log = createLogger('edge', edgeId, config.logLevel);
  const metrics = new Metrics();
  const httpConnections = new HttpConnections(metrics, 'edge', HTTP_CONNECTIONS_MAX);
  const link = await joinCluster({
    config,
    name: edgeId,
    host,
    port: config.adminPort,
    httpConnections,
    log,
    metrics,
  });
  const privateChannels = new PrivateChannels(
    link,
    shardCount,
    `${edgeId}:${incarnation}`,
    log,
    metrics,
  );
  const auth = await openAuthenticator(config.jwt, log, metrics, 'edge');
  const identity = await openTlsIdentity(config, log, metrics);
  const { authenticator } = auth;
  const memory = new MemoryWatch(log, metrics, trimMemory);
  const tracer = await openTracer(config.tracing, { role: 'edge', name: edgeId, log, metrics });
  const edge = createEdge({
    config,
    incarnation,
    link,
    authenticator,
    identity,
    memory,
    tracer,
    log,
    metrics,
  });
  const { transport, feed, shutdown, goaways, port } = edge;
  registerGauges(edge, metrics);
  const memoryAccount = openMemoryAccount(edge, metrics);
  const lag = new EventLoopLag();
  const routers = new RouterPresence({ link, shardCount, log, metrics });
  const checkReadiness = () =>
    combineReadiness(edgeReadiness(edge, privateChannels, auth), link.requirements.readiness(), {
      notReady: [],
      degraded: [...routers.reasons(), ...memory.reasons()],
    });
  const checkHealth = () => ({
    readiness: checkReadiness(),
    redisUnusable: privateChannels.notDelivering(),
    redisDeserted: routers.deserted(),
    routersSeen: routers.areSeen(),
    memoryHeadroom: memory.headroom,
  });

  const stopping = new AbortController();
  let control: ControlLink | undefined;
  const isLinked = () => control?.isUp ?? false;
  await followRedis(feed, link, shardCount, isLinked, log, stopping.signal);
  const devicePort = await listenOn(host, config.port, transport.listen.bind(transport));
  const admin = createAdminServer(
    edge,
    new Convergence(edgeId, incarnation),
    metrics,
    httpConnections,
    checkReadiness,
    () => privateChannels.notDelivering().length === 0,
  );
  const adminPort = await listenHttp(admin, host, config.adminPort);
  const advertisedUrl =
    config.advertisedUrl ?? defaultAdvertisedUrl(devicePort, identity !== undefined);
  const controlLink = new ControlLink({
    addresses: config.controlAddresses,
    credentials: await linkCredentials(config.link.tls, log),
    metadata: linkMetadata(config.link.token, config),
    feed,
    hello: () => describeEdge(edge, config, incarnation, advertisedUrl),
    measure: () => measureStats(edge, memoryAccount, lag, checkHealth()),
    scanClients: (scan) => edge.clientScans.scan(scan),
    log,
  });
  control = controlLink;

  const stepGoaways = () => {
    const isRedisSilent = privateChannels.readiness('delivery').notReady.length > 0;
    const step = goaways.step(performance.now(), controlLink, isRedisSilent);
    const { isClosing, isOver, rejectsGuests } = step;
    port.isClosing = isClosing && shutdown.isStarted;
    port.rejectsGuests = rejectsGuests;
    if (isOver) stop('drained');
  };
  const stopTasks = startPeriodicTasks([
    ...edgeTasks(edge, config, memory, isLinked),
    { everyMs: GOAWAY_STEP_MS, run: stepGoaways },
  ]);
  const stop = stopOnSignals(
    log,
    async () => {
      if (!shutdown.isStarted) shutdown.start(performance.now());
      stopTasks();
      stopping.abort();
      controlLink.close();
      auth.close();
      identity?.close();
      await transport.close();
      const { confirmations, endedClients, droppedPushes } = edge;
      const flushed = [confirmations.flush(), endedClients?.flush(), droppedPushes?.flush()];
      await within(REDIS_MS_MAX, Promise.all(flushed));
      await within(TRACER_MS_MAX, tracer?.close());
      await closeHttp(admin);
      routers.close();
      privateChannels.close();
      memory.close();
      await link.close();
    },
    () => {
      shutdown.start(performance.now());
      controlLink.reportSoon();
      stepGoaways();
    },
  );
  log.info({ advertisedUrl, incarnation, connectionsMax: config.connectionsMax }, 'edge started');
  announceListening(log, { devices: devicePort, admin: adminPort });
});

function createAdminServer(
  { feed, shards }: Edge,
  convergence: Convergence,
  metrics: Metrics,
  httpConnections: HttpConnections,
  checkReadiness: ReadinessCheck,
  isRedisComplete: () => boolean,
): FastifyInstance {
  const admin = createHttpServer(metrics, httpConnections, checkReadiness);
  addReadyRoute(admin, '/convergedz', () =>
    combineReadiness(checkReadiness(), {
      notReady: [
        ...convergence.notConvergedReasons(performance.now(), feed.current),
        // Where a master is down, its shards are not waited for.
        ...(isRedisComplete() ? unsubscribedReasons(shards) : []),
      ],
      degraded: [],
    }),
  );
  return admin;
}

function describeEdge(
  { feed }: Edge,
  { edgeId, frontAddress, connectionsMax, shardCount, zone }: EdgeConfig,
  incarnation: string,
  advertisedUrl: string,
): Hello {
  return {
    edgeId,
    incarnation,
    advertisedUrl,
    frontAddress,
    capacity: connectionsMax,
    shardCount,
    have: feed.position,
    zone,
    acceptsDeltas: true,
    build: { version: buildInfo.version, commit: buildInfo.commit },
    settings: digestSettings('edge', edgeSettings, process.env),
  };
}

function edgeReadiness(
  { feed, shards, shutdown }: Edge,
  privateChannels: PrivateChannels,
  auth: OpenedAuthenticator,
): Readiness {
  const notReady = [...auth.notReadyReasons()];
  const degraded: string[] = [];
  if (feed.current === undefined) notReady.push('no assignment has been received yet');
  // If only some shards are not subscribed, one Redis master does not deliver; when the edge
  // starts, none are subscribed.
  const isPartial = shards.unconfirmedOwnedCount() < shards.ownedCount;
  (isPartial ? degraded : notReady).push(...unsubscribedReasons(shards));
  if (shutdown.isStarted) notReady.push('the edge is shutting down');
  return combineReadiness(privateChannels.readiness('delivery'), { notReady, degraded });
}

function unsubscribedReasons(shards: Edge['shards']): string[] {
  const unconfirmed = shards.unconfirmedOwnedCount();
  return unconfirmed === 0 ? [] : [`${unconfirmed} owned shards are not subscribed yet`];
}
