/** Starts a router: settings from the environment, wiring, signals. */
import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { linkCredentials, serverCredentials } from '../common/auth/grpc-tls.js';
import { openAuthenticator } from '../common/auth/open-authenticator.js';
import type { Assignment } from '../common/cluster/assignment.js';
import { AssignmentFeed, followRedis } from '../common/cluster/assignment-feed.js';
import { joinCluster } from '../common/cluster/join.js';
import { RoutersChannels } from '../common/cluster/presence/routers-channels.js';
import { SubscriberCounts } from '../common/cluster/presence/subscriber-counts.js';
import { PrivateChannels } from '../common/cluster/private-channels.js';
import { ShardQueries } from '../common/cluster/shard-query.js';
import { HttpConnections } from '../common/http/connections.js';
import { closeHttp, createHttpServer, listenHttp } from '../common/http/server.js';
import { listenableHost } from '../common/net/any-host.js';
import { toServiceError } from '../common/process/grpc/calls.js';
import { GrpcConnections } from '../common/process/grpc/connections.js';
import { DirectCalls, withClient } from '../common/process/grpc/direct-calls.js';
import {
  bindGrpc,
  createGrpcServer,
  type GrpcServer,
  setHealth,
  stopGrpc,
} from '../common/process/grpc/grpc-server.js';
import { linkMetadata } from '../common/process/grpc-link.js';
import { announceListening, runRole, stopOnSignals } from '../common/process/lifecycle.js';
import { createLogger, type Logger } from '../common/process/log.js';
import { MemoryWatch } from '../common/process/memory/memory-watch.js';
import { Metrics } from '../common/process/metrics.js';
import { openFilesMax } from '../common/process/open-files.js';
import { combineReadiness } from '../common/process/readiness.js';
import type { RedisLink } from '../common/redis/redis-link.js';
import { corsHeaders } from '../common/wire/cors.js';
import { AcceptLevel } from '../proto/gen/longline/v1/push.js';
import { parseRouterConfig, type RouterConfig } from './config.js';
import { FrontListener } from './front/listener.js';
import { AssignmentLink } from './lookup/assignment-link.js';
import { ClosedPorts } from './lookup/closed-ports.js';
import { addConnectRoute } from './lookup/connect-route.js';
import { EdgeLookup } from './lookup/edge-lookup.js';
import { AcceptLevelWriters } from './push/accept-level-writer.js';
import { Backends } from './push/backends.js';
import { EdgePresence } from './push/edge-presence.js';
import { ShardGroups } from './push/many/shard-groups.js';
import { createPushService, pushServiceDefinition } from './push/push-service.js';
import { Pusher, stopping as routerStopping } from './push/pusher.js';
import { streamIntake } from './push/stream-intake.js';

/** A message of PushStream carries several payloads; up to this size callers need not count bytes. */
const GRPC_MESSAGE_BYTES_MIN = 16 * 1024 * 1024;
/** At least so many payloads of the maximum size fit into a message. */
const PAYLOADS_PER_MESSAGE = 4;
/** Room in a message for everything besides the payload. */
const GRPC_OVERHEAD_BYTES = 65_536;
const PUSH_SERVICE = 'longline.v1.PushService';
/** The service ends it when it has answered what it has read. */
const PUSH_STREAM = `/${PUSH_SERVICE}/PushStream`;
const HEALTH_INTERVAL_MS = 1_000;
/** On a stop, waits for devices and their confirmations end after this time. */
const WAITS_END_MS = 3_000;
/** Time to answer after the last wait has ended. */
const ANSWERS_MS = 1_000;

/** The parts of a router that the functions below share. */
interface RouterContext {
  readonly config: RouterConfig;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly link: RedisLink;
  readonly memory: MemoryWatch;
  /** Aborted when the router stops. */
  readonly stopping: AbortSignal;
}

await runRole(async () => {
  const config = parseRouterConfig(process.env, openFilesMax());
  const { routerId, shardCount } = config;
  const host = await listenableHost(config.host);
  const log = createLogger('router', routerId, config.logLevel);
  const metrics = new Metrics();
  const httpConnections = new HttpConnections(metrics, 'router', config.httpConnectionsMax);
  const link = await joinCluster({
    config,
    name: routerId,
    host,
    port: config.httpPort,
    isFsyncedRequired: config.acceptLevel?.level === AcceptLevel.ACCEPT_LEVEL_FSYNCED,
    httpConnections,
    log,
    metrics,
  });
  const channels = new PrivateChannels(
    link,
    shardCount,
    `${routerId}:${randomUUID()}`,
    log,
    metrics,
  );
  const stopping = new AbortController();
  // Every push stream listens to it.
  setMaxListeners(0, stopping.signal);
  const memory = new MemoryWatch(log, metrics);
  const context = { config, log, metrics, link, memory, stopping: stopping.signal };

  const feed = new AssignmentFeed((assignment) => onAssignment(assignment), metrics, 'router');
  const closedPorts = new ClosedPorts({
    isSuspect: (edge) => control?.isSuspect(edge) ?? false,
    hasControl: () => control?.isUp ?? false,
    report: (edge) => control?.reportClosedPort(edge),
    metrics,
  });
  const lookup = new EdgeLookup(() => feed.current, closedPorts, metrics);
  const front = createFront(context, feed, closedPorts, () => stop('drained'));
  const onAssignment = (assignment: Assignment) => {
    closedPorts.assign(assignment);
    lookup.onAssignment();
    front?.assign(assignment);
  };
  let control: AssignmentLink | undefined;
  control = await followAssignment(context, feed);

  const stopBeacon = new RoutersChannels(link, shardCount).subscribe();
  const assignment = () => feed.current;
  const counts = new SubscriberCounts(link, log);
  const edges = new EdgePresence({ link, shardCount, assignment, counts, log, metrics });
  const auth = await openAuthenticator(config.jwt, log, metrics, 'router');
  const checkReadiness = () => {
    const notReady = [
      ...auth.notReadyReasons(),
      ...(feed.current === undefined ? ['no assignment was received yet'] : []),
      ...(front?.isDraining ? ['the router is draining'] : []),
      ...(stopping.signal.aborted ? ['the router is shutting down'] : []),
    ];
    return combineReadiness(channels.readiness('publishing'), link.requirements.readiness(), {
      notReady,
      degraded: [...edges.reasons(), ...memory.reasons()],
    });
  };
  const http = createHttpServer(metrics, httpConnections, checkReadiness, (origin) =>
    corsHeaders(config.corsOrigins, origin),
  );
  addConnectRoute(http, {
    lookup,
    shardCount,
    corsOrigins: config.corsOrigins,
    authenticator: auth.authenticator,
    metrics,
  });
  const { grpc, connections, direct, writers, shardQueries } = await createPushServer(
    context,
    channels,
    new ShardGroups({ link, shardCount, assignment, counts }),
  );

  const httpPort = await listenHttp(http, host, config.httpPort);
  const frontPort = await front?.listen(host);
  const tls = await serverCredentials(config.backends.tls, log);
  const grpcPort = await bindGrpc(grpc.server, host, config.grpcPort, tls);
  connections.attach(grpc.server);
  direct.attach(grpc.server);
  const health = setInterval(() => {
    const isServing = channels.readiness('publishing').notReady.length === 0 && !front?.isDraining;
    setHealth(grpc, isServing ? 'SERVING' : 'NOT_SERVING');
  }, HEALTH_INTERVAL_MS);

  const closeAll = async () => {
    clearInterval(health);
    stopping.abort();
    shardQueries.endWaits(WAITS_END_MS);
    const grace = WAITS_END_MS + ANSWERS_MS;
    await Promise.all([
      stopGrpc(grpc, toServiceError(routerStopping()), grace, {
        ownStreams: [PUSH_STREAM],
        direct,
      }),
      front?.close(),
    ]);
    control?.close();
    auth.close();
    await closeHttp(http);
    edges.close();
    stopBeacon();
    channels.close();
    writers.close();
    memory.close();
    await link.close();
  };
  const stop = stopOnSignals(log, closeAll, front && (() => front.drain()));
  const ports = { http: httpPort, grpc: grpcPort };
  announceListening(log, frontPort === undefined ? ports : { ...ports, front: frontPort });
});

function createFront(
  { config, log, metrics, memory }: RouterContext,
  feed: AssignmentFeed,
  closedPorts: ClosedPorts,
  onDrained: () => void,
): FrontListener | undefined {
  if (config.front === undefined) return undefined;
  const { front, transport } = config;
  const assignment = () => feed.current;
  return new FrontListener({
    config: front,
    transport,
    assignment,
    closedPorts,
    memory,
    onDrained,
    log,
    metrics,
  });
}

/** Follows the assignment at control, and in Redis while no control is connected. */
async function followAssignment(
  context: RouterContext,
  feed: AssignmentFeed,
): Promise<AssignmentLink> {
  const { config, log, link, stopping } = context;
  const { shardCount } = config;
  let control: AssignmentLink | undefined;
  await followRedis(feed, link, shardCount, () => control?.isUp ?? false, log, stopping);
  control = new AssignmentLink({
    addresses: config.controlAddresses,
    credentials: await linkCredentials(config.link.tls, log),
    metadata: linkMetadata(config.link.token, config),
    feed,
    shardCount,
    log,
  });
  return control;
}

interface PushServer {
  readonly grpc: GrpcServer;
  readonly connections: GrpcConnections;
  readonly direct: DirectCalls;
  readonly writers: AcceptLevelWriters;
  readonly shardQueries: ShardQueries;
}

/** Creates the gRPC server of the Push API, which does not listen yet. */
async function createPushServer(
  { config, log, metrics, link, memory, stopping }: RouterContext,
  channels: PrivateChannels,
  groups: ShardGroups,
): Promise<PushServer> {
  const { shardCount, inFlightMax, inbox, payloadBytesMax } = config;
  const shardQueries = new ShardQueries({
    link,
    channels,
    shardCount,
    inFlightMax,
    memory,
    metrics,
    role: 'router',
  });
  channels.onReplies = (batch) => shardQueries.onReplies(batch);
  const writers = new AcceptLevelWriters(link, inbox);
  const pusher = new Pusher({ shardQueries, link, writers, config, metrics });
  const backends = new Backends(config.backends, config.pushesPerSecondMax, metrics);
  await backends.watchFile(log);
  const messageBytesMax =
    Math.max(GRPC_MESSAGE_BYTES_MIN, PAYLOADS_PER_MESSAGE * payloadBytesMax) + GRPC_OVERHEAD_BYTES;
  const connections = new GrpcConnections(config.connections, metrics, 'router');
  const grpc = createGrpcServer([PUSH_SERVICE], {
    ...connections.options,
    'grpc.max_receive_message_length': messageBytesMax,
    interceptors: [withClient, connections.boundCalls, streamIntake(messageBytesMax)],
  });
  const service = createPushService({ pusher, groups, backends, connections, log, stopping });
  grpc.server.addService(pushServiceDefinition, service);
  const direct = new DirectCalls({
    requestBytesMax: messageBytesMax,
    callsPerConnectionMax: config.connections.callsPerConnectionMax,
    onCall: connections.onCall,
    onConnection: connections.open,
    memory,
  });
  direct.add(pushServiceDefinition.push, service.push);
  return { grpc, connections, direct, writers, shardQueries };
}
