/** Starts a router: settings from the environment, wiring, signals. */
import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { Authenticator } from '../common/auth/authenticator.js';
import { linkCredentials, serverCredentials } from '../common/auth/grpc-tls.js';
import { openAuthenticator } from '../common/auth/open-authenticator.js';
import { openTlsServer } from '../common/auth/tls-server.js';
import type { Assignment } from '../common/cluster/assignment.js';
import { AssignmentFeed, followRedis } from '../common/cluster/assignment-feed.js';
import { boundsFor } from '../common/cluster/events/event-stream.js';
import { joinCluster } from '../common/cluster/join.js';
import { RoutersChannels } from '../common/cluster/presence/routers-channels.js';
import { SubscriberCounts } from '../common/cluster/presence/subscriber-counts.js';
import { PrivateChannels } from '../common/cluster/private-channels.js';
import { ShardNames } from '../common/cluster/shard-names.js';
import { ShardQueries } from '../common/cluster/shard-query.js';
import { HttpConnections } from '../common/http/connections.js';
import { closeHttp, createHttpServer, listenHttp } from '../common/http/server.js';
import { listenableHost } from '../common/net/any-host.js';
import { digestSettings } from '../common/process/agreed-settings.js';
import { buildInfo } from '../common/process/build-info.js';
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
import { withStrictStrings } from '../common/process/grpc/strict-strings.js';
import { linkMetadata } from '../common/process/grpc-link.js';
import { announceListening, runRole, stopOnSignals, within } from '../common/process/lifecycle.js';
import { createLogger, type Logger } from '../common/process/log.js';
import { MemoryWatch } from '../common/process/memory/memory-watch.js';
import { Metrics } from '../common/process/metrics.js';
import { openFilesMax } from '../common/process/open-files.js';
import { combineReadiness } from '../common/process/readiness.js';
import { openTracer } from '../common/process/tracing/open-tracer.js';
import type { Tracer } from '../common/process/tracing/tracer.js';
import type { RedisLink } from '../common/redis/redis-link.js';
import { trimMemory } from '../common/transport/native-transport.js';
import { corsHeaders } from '../common/wire/cors.js';
import { EventServiceService } from '../proto/gen/longline/v1/events.js';
import { AcceptLevel } from '../proto/gen/longline/v1/push.js';
import { parseRouterConfig, type RouterConfig, routerSettings } from './config.js';
import { PresenceService } from './events/presence/presence-service.js';
import { STALLED_MS, WatchService } from './events/watch-service.js';
import { Webhooks } from './events/webhooks/webhooks.js';
import { FrontListener, openFrontIdentity } from './front/listener.js';
import { AssignmentLink } from './lookup/assignment-link.js';
import { ClosedPorts } from './lookup/closed-ports.js';
import { addConnectRoute } from './lookup/connect-route.js';
import { EdgeLookup } from './lookup/edge-lookup.js';
import { readLoad } from './lookup/load-report.js';
import { Backends } from './push/backends.js';
import { EdgePresence } from './push/edge-presence.js';
import { PushTraces } from './push/flight/push-trace.js';
import { answersAbout } from './push/flight/recent-pushes-answers.js';
import { Memberships } from './push/groups/memberships.js';
import {
  createGroupService,
  createPushService,
  groupServiceDefinition,
  pushServiceDefinition,
} from './push/grpc/push-service.js';
import { streamIntake } from './push/grpc/stream-intake.js';
import { PushHttp } from './push/http/push-http.js';
import { ShardGroups } from './push/many/shard-groups.js';
import { PushApi } from './push/operations.js';
import { Pusher, stopping as routerStopping } from './push/pusher.js';
import { AcceptLevelWriters } from './push/store/accept-level-writer.js';
import { StoredPushes } from './push/store/stored-pushes.js';
import { Users } from './push/users.js';

/**
 * A message of PushStream carries several payloads; up to this size callers need not count bytes.
 */
const GRPC_MESSAGE_BYTES_MIN = 16 * 1024 * 1024;
/** At least this many payloads of the maximum size fit into a message. */
const PAYLOADS_PER_MESSAGE = 4;
/** Room in a message for everything besides the payload. */
const GRPC_OVERHEAD_BYTES = 65_536;
const PUSH_SERVICE = 'longline.v1.PushService';
const GROUP_SERVICE = 'longline.v1.GroupService';
const EVENT_SERVICE = 'longline.v1.EventService';
/** The service ends it when it has answered what it has read. */
const PUSH_STREAM = `/${PUSH_SERVICE}/PushStream`;
const HEALTH_INTERVAL_MS = 1_000;
const LOAD_REPORT_MS = 5_000;
/** Share of the HTTP connections whose answer may wait for a new owner; the rest is for others. */
const WAITING_SHARE = 3 / 4;
/** On a stop, maximum wait for replies of edges and confirmations of devices. */
const WAITS_END_MS = 3_000;
/** Time for the answers after it. */
const ANSWERS_MS = 3_000;
/**
 * Time to send the last spans, and to leave the groups of event consumers, whose leases would
 * otherwise have to end.
 */
const LEAVE_MS = 1_000;

/** The parts of a router that the functions below share. */
interface RouterContext {
  readonly config: RouterConfig;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly link: RedisLink;
  readonly memory: MemoryWatch;
  /** Undefined: there is no tracing. */
  readonly tracer: Tracer | undefined;
  /** Aborted when the router stops. */
  readonly stopping: AbortSignal;
}

await runRole(async () => {
  const config = parseRouterConfig(process.env, openFilesMax());
  const { routerId, shardCount } = config;
  const incarnation = randomUUID();
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
    `${routerId}:${incarnation}`,
    log,
    metrics,
  );
  const stopping = new AbortController();
  // Every push stream listens to it.
  setMaxListeners(0, stopping.signal);
  const memory = new MemoryWatch(log, metrics, trimMemory);
  const tracer = await openTracer(config.tracing, { role: 'router', name: routerId, log, metrics });
  const context = { config, log, metrics, link, memory, tracer, stopping: stopping.signal };

  const feed = new AssignmentFeed((assignment) => onAssignment(assignment), metrics, 'router');
  const closedPorts = new ClosedPorts({
    isSuspect: (edge) => control?.isSuspect(edge) ?? false,
    hasControl: () => control?.isUp ?? false,
    report: (edge) => control?.reportClosedPort(edge),
    metrics,
  });
  const waitingMax = Math.floor(config.httpConnectionsMax * WAITING_SHARE);
  const lookup = new EdgeLookup(() => feed.current, closedPorts, waitingMax, metrics);
  const auth = await openAuthenticator(config.jwt, log, metrics, 'router');
  const front = await createFront(context, feed, closedPorts, auth.authenticator, () =>
    stop('drained'),
  );
  const onAssignment = (assignment: Assignment) => {
    closedPorts.assign(assignment);
    lookup.onAssignment();
    front?.assign(assignment);
  };
  let control: AssignmentLink | undefined;
  control = await followAssignment(context, feed);

  const assignment = () => feed.current;
  const counts = new SubscriberCounts(link, log);
  const edges = new EdgePresence({ link, shardCount, assignment, counts, log, metrics });
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
  const { api, pusher, grpc, connections, direct, writers, storedPushes, shardQueries, watches } =
    await createPushServer(
      context,
      channels,
      edges,
      new ShardGroups({ link, shardCount, assignment, counts }),
    );
  const unsubscribe = new RoutersChannels(link, shardCount).subscribe(
    answersAbout(pusher.recentPushes, routerId, link),
  );
  const pushHttp = await createPushHttp(context, api);
  const webhooks = await openWebhooks(context);

  const httpPort = await listenHttp(http, host, config.httpPort);
  const frontPort = await front?.listen(host);
  const tls = await serverCredentials(config.backends.tls, log);
  const grpcPort = await bindGrpc(grpc.server, host, config.grpcPort, tls);
  connections.attach(grpc.server);
  direct.attach(grpc.server);
  const pushHttpPort = await pushHttp?.listen(host);
  const health = setInterval(() => {
    const isServing = channels.readiness('publishing').notReady.length === 0 && !front?.isDraining;
    setHealth(grpc, isServing ? 'SERVING' : 'NOT_SERVING');
  }, HEALTH_INTERVAL_MS);

  const identity = {
    ...{ routerId, incarnation, version: buildInfo.version, commit: buildInfo.commit },
    settings: digestSettings('router', routerSettings, process.env),
  };
  const reporting = setInterval(async () => {
    const slowPushes = pusher.slowPushes.slowest(performance.now());
    control?.reportLoad(await readLoad(pusher.counted, identity, slowPushes));
  }, LOAD_REPORT_MS);

  const closeAll = async () => {
    clearInterval(health);
    clearInterval(reporting);
    stopping.abort();
    shardQueries.endWaits(WAITS_END_MS);
    const grace = WAITS_END_MS + ANSWERS_MS;
    await Promise.all([
      stopGrpc(grpc, toServiceError(routerStopping()), grace, {
        ownStreams: [PUSH_STREAM],
        direct,
      }),
      pushHttp?.stop(grace),
      front?.close(),
    ]);
    await within(LEAVE_MS, Promise.all([watches.close(), webhooks?.close(), tracer?.close()]));
    control?.close();
    auth.close();
    await closeHttp(http);
    edges.close();
    unsubscribe();
    channels.close();
    writers.close();
    storedPushes.close();
    memory.close();
    await link.close();
  };
  const stop = stopOnSignals(log, closeAll, front && (() => front.drain()));
  announceListening(log, {
    http: httpPort,
    grpc: grpcPort,
    ...(frontPort !== undefined && { front: frontPort }),
    ...(pushHttpPort !== undefined && { pushHttp: pushHttpPort }),
  });
});

async function createFront(
  { config, log, metrics, memory }: RouterContext,
  feed: AssignmentFeed,
  closedPorts: ClosedPorts,
  authenticator: Authenticator,
  onDrained: () => void,
): Promise<FrontListener | undefined> {
  if (config.front === undefined) return undefined;
  const { front, transport } = config;
  const assignment = () => feed.current;
  return new FrontListener({
    config: front,
    identity: await openFrontIdentity(front.tls, log, metrics),
    transport,
    assignment,
    closedPorts,
    authenticator,
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
  readonly api: PushApi;
  readonly pusher: Pusher;
  readonly grpc: GrpcServer;
  readonly connections: GrpcConnections;
  readonly direct: DirectCalls;
  readonly writers: AcceptLevelWriters;
  readonly storedPushes: StoredPushes;
  readonly shardQueries: ShardQueries;
  readonly watches: WatchService;
}

/** Creates the gRPC server of the Push API, which does not listen yet. */
async function createPushServer(
  { config, log, metrics, link, memory, tracer, stopping }: RouterContext,
  channels: PrivateChannels,
  edges: EdgePresence,
  groups: ShardGroups,
): Promise<PushServer> {
  const { shardCount, inFlightMax, inbox, payloadBytesMax, routerId, flightRecordShare } = config;
  const shardQueries = new ShardQueries({
    link,
    channels,
    shardCount,
    inFlightMax,
    memory,
    haveEdgesFollowed: (channel) => edges.haveFollowed(channel),
    metrics,
    role: 'router',
  });
  channels.onReplies = (batch) => shardQueries.onReplies(batch);
  const writers = new AcceptLevelWriters(link, inbox);
  const storedPushes = new StoredPushes({ link, shardQueries, log, metrics });
  const channelOf = (clientId: string) => shardQueries.channelOf(clientId);
  const traces = new PushTraces({ routerId, flightRecordShare, tracer, link, channelOf });
  const pusher = new Pusher({ shardQueries, link, writers, storedPushes, traces, config, metrics });
  const backends = new Backends(config.backends, config.pushesPerSecondMax, metrics);
  await backends.watchFile(log);
  const messageBytesMax = messageBytesMaxOf(payloadBytesMax);
  const connections = new GrpcConnections(config.connections, metrics, 'router');
  const grpc = createGrpcServer([PUSH_SERVICE, GROUP_SERVICE, EVENT_SERVICE], {
    ...connections.options,
    'grpc.max_receive_message_length': messageBytesMax,
    interceptors: [withClient, ...connections.interceptors, streamIntake(messageBytesMax)],
  });
  const users = new Users({ pusher, link, devicesMax: config.userDevicesMax });
  const names = new ShardNames(link.names, shardCount);
  const store = {
    link,
    channelOf: (shard: number) => names.channelOf(shard),
    shardOf: (member: string) => shardQueries.shardOf(member),
    shardCount,
  };
  const memberships = new Memberships({
    store,
    events: boundsFor(config.events, 'groups'),
    metrics,
  });
  const api = new PushApi({
    ...{ pusher, groups, users, memberships, backends },
    ...{ tracer, log, stopping },
  });
  const service = createPushService(api, connections);
  grpc.server.addService(pushServiceDefinition, service);
  grpc.server.addService(groupServiceDefinition, createGroupService(api));
  const { subjects } = config.events;
  const keepMs = subjects.length === 0 ? undefined : config.events.keepMs;
  const shared = { api, link, names, connections, metrics };
  const presence = new PresenceService({ ...shared, subjects, keepMs: config.events.keepMs });
  const watches = new WatchService({ ...shared, presence, keepMs, stalledMs: STALLED_MS });
  grpc.server.addService(withStrictStrings(EventServiceService), watches.implementation);
  const direct = new DirectCalls({
    requestBytesMax: messageBytesMax,
    callsPerConnectionMax: config.connections.callsPerConnectionMax,
    onCall: connections.onCall,
    awaited: connections.awaited,
    onConnection: connections.open,
    memory,
  });
  direct.add(pushServiceDefinition.push, service.push);
  return { api, pusher, grpc, connections, direct, writers, storedPushes, shardQueries, watches };
}

/** Creates the HTTP server of the Push API, which does not listen yet; undefined: there is none. */
async function createPushHttp(
  { config, log, metrics, memory }: RouterContext,
  api: PushApi,
): Promise<PushHttp | undefined> {
  const { pushHttp, payloadBytesMax, backends } = config;
  if (pushHttp === undefined) return undefined;
  const { tls } = backends;
  return new PushHttp({
    api,
    config: pushHttp,
    payloadBytesMax,
    streamBytesMax: messageBytesMaxOf(payloadBytesMax),
    tlsServer: tls && (await openTlsServer(tls, log)),
    memory,
    metrics,
  });
}

/** Undefined: there are none. */
async function openWebhooks({
  config,
  log,
  metrics,
  link,
}: RouterContext): Promise<Webhooks | undefined> {
  const { webhooks, events, routerId, shardCount, clusterName } = config;
  if (webhooks.file === undefined) return undefined;
  const options = {
    link,
    names: new ShardNames(link.names, shardCount),
    keepMs: events.keepMs,
    source: `/longline/${clusterName ?? ''}`,
    config: webhooks,
    routerId,
    log,
    metrics,
  };
  return Webhooks.open(options, webhooks.file);
}

/** Maximum bytes of a gRPC message, and of the pushes of one stream in progress. */
function messageBytesMaxOf(payloadBytesMax: number): number {
  const bytes = Math.max(GRPC_MESSAGE_BYTES_MIN, PAYLOADS_PER_MESSAGE * payloadBytesMax);
  return bytes + GRPC_OVERHEAD_BYTES;
}
