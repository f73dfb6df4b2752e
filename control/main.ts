/** Starts a control: settings from the environment, wiring, signals. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { serverCredentials } from '../common/auth/grpc-tls.js';
import { restoreSettings } from '../common/cluster/cluster-settings.js';
import { boundsFor } from '../common/cluster/events/event-stream.js';
import { summarizeInbox } from '../common/cluster/inbox/summary.js';
import { joinCluster } from '../common/cluster/join.js';
import { RoutersChannels } from '../common/cluster/presence/routers-channels.js';
import { readDevices } from '../common/cluster/presence/user-devices.js';
import { PrivateChannels } from '../common/cluster/private-channels.js';
import { ShardNames } from '../common/cluster/shard-names.js';
import { ShardQueries } from '../common/cluster/shard-query.js';
import { HttpConnections } from '../common/http/connections.js';
import { closeHttp, createHttpServer, listenHttp } from '../common/http/server.js';
import { listenableHost } from '../common/net/any-host.js';
import { joinHostPort } from '../common/net/host-port.js';
import { digestSettings } from '../common/process/agreed-settings.js';
import { buildInfo } from '../common/process/build-info.js';
import { rejection } from '../common/process/errors.js';
import { toServiceError } from '../common/process/grpc/calls.js';
import { bindGrpc, setHealth, stopGrpc } from '../common/process/grpc/grpc-server.js';
import { announceListening, runRole, stopOnSignals, within } from '../common/process/lifecycle.js';
import { createLogger, type Logger } from '../common/process/log.js';
import { MemoryWatch } from '../common/process/memory/memory-watch.js';
import { Metrics } from '../common/process/metrics.js';
import { combineReadiness } from '../common/process/readiness.js';
import { unixMs } from '../common/process/time/clock.js';
import type { RedisLink } from '../common/redis/redis-link.js';
import { trimMemory } from '../common/transport/native-transport.js';
import { clientIdOf } from '../common/wire/client-id.js';
import {
  type ControlConfig,
  controlSettings,
  parseControlConfig,
  redactedSettings,
} from './config.js';
import { createControlConnections, createControlGrpc } from './control-grpc.js';
import { Controller } from './leadership/controller.js';
import { addControllerGauges } from './leadership/controller-metrics.js';
import { LeaderOperations } from './leadership/leader-operations.js';
import { type Leader, Leadership } from './leadership/leadership.js';
import { type Replica, Replicas } from './leadership/replicas.js';
import { AUDIT_STEP_MS, Auditor } from './ledger/auditor.js';
import { addLedgerGauges, ledgerReasons } from './ledger/described.js';
import { ClientScans } from './links/client-scans.js';
import { LinkGuard } from './links/link-guard.js';
import { isMember } from './membership/edge-record.js';
import { Access } from './operator/access.js';
import type { OperatorApi } from './operator/api.js';
import { CanariesApi } from './operator/canaries.js';
import { BlocksApi } from './operator/clients/blocks.js';
import { ClientLists } from './operator/clients/client-lists.js';
import { ClientPushes } from './operator/clients/client-pushes.js';
import { Disconnects } from './operator/clients/disconnects.js';
import { Inboxes } from './operator/clients/inboxes.js';
import { RevocationsApi } from './operator/clients/revocations.js';
import { addDashboard } from './operator/http/dashboard.js';
import { forwardToLeader } from './operator/http/forward-to-leader.js';
import { addOperatorRoutes } from './operator/http/http-api.js';
import { LedgerApi } from './operator/ledger.js';
import { OperationsApi } from './operator/operations.js';
import { OperatorQueries, type Snapshot } from './operator/queries.js';

/** Maximum connections of operators, other controls and scrapers. */
const HTTP_CONNECTIONS_MAX = 1_024;
/** Maximum number of operators' client look-ups that wait for replies of edges. */
const SHARD_QUERIES_IN_FLIGHT_MAX = 1_000;

/** On a stop, time for the last writes to Redis, such as giving up the lead. */
const REDIS_MS_MAX = 1_500;
/** On a stop, time for calls in flight. */
const CALLS_MS_MAX = 1_000;

await runRole(async () => {
  const config = parseControlConfig(process.env);
  const { controlId, shardCount, leaseMs, reconnectsPerSecondMax } = config;
  const incarnation = randomUUID();
  const host = await listenableHost(config.host);
  const log = createLogger('control', controlId, config.logLevel);
  const metrics = new Metrics();
  const httpConnections = new HttpConnections(metrics, 'control', HTTP_CONNECTIONS_MAX);

  const link = await joinCluster({
    config,
    name: controlId,
    host,
    port: config.httpPort,
    httpConnections,
    log,
    metrics,
  });
  const channels = new PrivateChannels(
    link,
    shardCount,
    `${controlId}:${incarnation}`,
    log,
    metrics,
  );
  const memory = new MemoryWatch(log, metrics, trimMemory);
  const shardQueries = new ShardQueries({
    link,
    channels,
    shardCount,
    inFlightMax: SHARD_QUERIES_IN_FLIGHT_MAX,
    memory,
    // It delivers nothing, so a view of a client may miss a guest while the address of Redis moves.
    haveEdgesFollowed: () => true,
    metrics,
    role: 'control',
  });
  channels.onReplies = (batch) => shardQueries.onReplies(batch);

  const controller = new Controller({
    link,
    controlId,
    shardCount,
    leaseMs,
    reconnectsPerSecondMax,
    log,
    metrics,
  });
  let replicas: Replicas | undefined;
  const controls = () => replicas?.all ?? [];
  addControllerGauges(metrics, controller, shardCount, controls);
  addLedgerGauges(metrics, () => controller.ledger);
  const scans = new ClientScans();
  let isStopping = false;
  const checkReadiness = () =>
    combineReadiness(
      channels.readiness('publishing'),
      controller.readiness(),
      link.requirements.readiness(),
      {
        notReady: isStopping ? ['control is shutting down'] : [],
        degraded: ledgerReasons(controller.ledger),
      },
    );
  const health = () => {
    const { notReady, degraded } = checkReadiness();
    return { reasons: [...notReady, ...degraded], redisMasters: channels.masters() };
  };
  metrics.gauge(
    'longline_control_degraded',
    'Reasons for which this control is not ready or degraded, as in its /readyz',
    () => health().reasons.length,
  );
  const parts = { link, controller, controls, shardQueries, scans, health, log, metrics };
  const api = createOperatorApi(config, parts);
  const http = createHttpServer(metrics, httpConnections, checkReadiness);
  addDashboard(http, api.access, config.advertisedUrl);
  forwardToLeader(http, () => controller.leader);
  addOperatorRoutes(http, api);
  const guard = new LinkGuard(config.peers, config, metrics);
  const connections = createControlConnections(config.grpcConnectionsMax, metrics);
  const options = { controller, scans, shardCount, log, metrics };
  const grpc = createControlGrpc(options, guard, api, connections);

  const httpPort = await listenHttp(http, host, config.httpPort);
  const tls = await serverCredentials(config.tls, log);
  const grpcPort = await bindGrpc(grpc.server, host, config.grpcPort, tls);
  connections.attach(grpc.server);
  const url = config.advertisedUrl ?? `http://${joinHostPort(hostname(), httpPort)}`;
  replicas = new Replicas({
    ...{ link, id: controlId, url, build: buildInfo },
    settings: digestSettings('control', controlSettings, process.env),
  });
  const leadership = new Leadership({
    link,
    identity: { id: controlId, url },
    incarnation,
    onChange: (leader) => controller.setLeader(leader),
    log,
  });
  const everySecond = setInterval(() => {
    void restoreSettings(link, config);
    setHealth(grpc, checkReadiness().notReady.length === 0 ? 'SERVING' : 'NOT_SERVING');
  }, 1_000);
  const auditor = new Auditor({ link, names: new ShardNames(link.names, shardCount) });
  const auditing = setInterval(() => {
    if (controller.ledger !== undefined) void auditor.step(controller.ledger);
  }, AUDIT_STEP_MS);

  stopOnSignals(log, async () => {
    clearInterval(everySecond);
    clearInterval(auditing);
    isStopping = true;
    setHealth(grpc, 'NOT_SERVING');
    await within(REDIS_MS_MAX, Promise.all([leadership.close(), replicas?.close()]));
    await within(REDIS_MS_MAX, controller.close());
    // Edges and routers continue with the next leader.
    const reason = rejection('NOT_READY', 'control is shutting down; connect to another one');
    await Promise.all([stopGrpc(grpc, toServiceError(reason), CALLS_MS_MAX), closeHttp(http)]);
    channels.close();
    memory.close();
    await link.close();
  });
  announceListening(log, { http: httpPort, grpc: grpcPort });
});

interface OperatorApiParts {
  readonly link: RedisLink;
  readonly controller: Controller;
  readonly controls: () => readonly Replica[];
  readonly shardQueries: ShardQueries;
  readonly scans: ClientScans;
  readonly health: NonNullable<Snapshot['health']>;
  readonly log: Logger;
  readonly metrics: Metrics;
}

function createOperatorApi(
  config: ControlConfig,
  { link, controller, controls, shardQueries, scans, health, log, metrics }: OperatorApiParts,
): OperatorApi {
  const { controlId, shardCount, reconnectsPerSecondMax } = config;
  const names = new ShardNames(link.names, shardCount);
  const queries = new OperatorQueries(
    names,
    () => ({
      assignment: controller.current,
      edges: controller.edges,
      leader: leaderId(controller.leader, controlId),
      history: controller.history,
      controls: controls(),
      health,
      masterOf: (channel) => link.subscriber.masterOf(channel),
      ownedSince: controller.ownedSince,
    }),
    {
      locate: (clientId, leftMs) => shardQueries.queryPresence(clientId, leftMs),
      devicesOf: async (channel, user, countMax) => {
        const outcome = await readDevices(link, channel, user, countMax);
        if (outcome.type !== 'done') return undefined;
        return outcome.reply.map((device) => clientIdOf(user, device));
      },
      summarizeInbox: async (channel, clientId) => {
        const outcome = await summarizeInbox(link, channel, clientId);
        return outcome.type === 'done' ? outcome.reply : undefined;
      },
      ownedForMs: (shard, edgeId) => controller.events.ownedForMs(unixMs(), shard, edgeId),
    },
  );
  const operations = new LeaderOperations(controller, { shardCount, reconnectsPerSecondMax, log });
  const members = () => controller.edges.filter(isMember).map(({ id }) => id);
  const rejectAsFollower = () => operations.rejectAsFollower();
  return {
    queries,
    ledger: new LedgerApi(() => controller.ledger),
    canaries: new CanariesApi(),
    operations: new OperationsApi(operations),
    blocks: new BlocksApi(link, operations, names, boundsFor(config.events, 'clients')),
    revocations: new RevocationsApi(link, operations),
    clients: new ClientLists(scans, members, shardCount, rejectAsFollower),
    disconnects: new Disconnects({ scans, members, operations, shardCount, metrics }),
    inboxes: new Inboxes(link, shardQueries, operations),
    pushes: new ClientPushes(shardQueries, new RoutersChannels(link, shardCount)),
    access: new Access(config.operatorTokens, config.viewerTokens, config.payloadReaders),
    settings: { ...redactedSettings(process.env), LONGLINE_CONTROL_ID: controlId },
  };
}

/** Empty: no control leads, or the leader is unknown. */
function leaderId(leader: Leader, ownId: string): string {
  if (leader.type === 'none') return '';
  return leader.type === 'self' ? ownId : leader.control.id;
}
