/** Starts a control: settings from the environment, wiring, signals. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { Gauge } from 'prom-client';
import { restoreSettings } from '../common/cluster/cluster-settings.js';
import { joinCluster } from '../common/cluster/join.js';
import { PrivateChannels } from '../common/cluster/private-channels.js';
import { ShardQueries } from '../common/cluster/shard-query.js';
import { bindGrpc } from '../common/process/grpc-server.js';
import { serverCredentials } from '../common/process/grpc-tls.js';
import { createHttpServer, listenHttp } from '../common/process/http-server.js';
import { announceListening, runRole, stopOnSignals } from '../common/process/lifecycle.js';
import { createLogger } from '../common/process/log.js';
import { Metrics } from '../common/process/metrics.js';
import { parseControlConfig, shownSettings } from './config.js';
import { Controller } from './leadership/controller.js';
import { Leadership } from './leadership/leadership.js';
import { LinkGuard } from './links/link-guard.js';
import { edgesDesired } from './membership/edges-desired.js';
import { Access } from './operator/access.js';
import { createControlGrpc, SERVICES } from './operator/control-grpc.js';
import { forwardToLeader } from './operator/forward.js';
import { addOperatorRoutes } from './operator/http.js';
import { OperatorOrders } from './operator/orders.js';
import { OperatorQueries } from './operator/queries.js';

/** Operators' questions about clients that wait for an answer. */
const ASKS_IN_FLIGHT_MAX = 1_000;

await runRole(async () => {
  const config = parseControlConfig(process.env);
  const { controlId, shardCount, leaseMs } = config;
  const incarnation = randomUUID();
  const log = createLogger('control', controlId, config.logLevel);
  const metrics = new Metrics();

  const link = await joinCluster({
    config,
    name: controlId,
    host: config.host,
    port: config.httpPort,
    log,
    metrics,
  });
  const channels = new PrivateChannels(link, shardCount, `${controlId}:${incarnation}`, log);
  const shardQueries = new ShardQueries(
    link,
    channels,
    shardCount,
    ASKS_IN_FLIGHT_MAX,
    metrics,
    'control',
  );
  channels.onReplies = (batch) => shardQueries.onReplies(batch);

  const controller = new Controller({
    link,
    controlId,
    shardCount,
    leaseMs,
    reconnectsPerSecondMax: config.reconnectsPerSecondMax,
    log,
    metrics,
  });
  const queries = new OperatorQueries(
    shardCount,
    () => ({
      assignment: controller.current,
      edges: controller.edges,
      leader:
        controller.leader.type === 'me'
          ? controlId
          : controller.leader.type === 'other'
            ? controller.leader.control.id
            : '',
    }),
    (clientId) => shardQueries.queryPresence(clientId),
  );
  const api = {
    queries,
    orders: new OperatorOrders(controller),
    access: new Access(config.operatorTokens, config.viewerTokens),
    settings: { ...shownSettings(process.env), LONGLINE_CONTROL_ID: controlId },
  };
  countEdges(metrics, controller);

  const notReadyReasons = () => [
    ...channels.notDeliveringReasons(),
    ...controller.notReadyReasons(),
  ];
  const http = createHttpServer(metrics, notReadyReasons);
  forwardToLeader(http, () => controller.leader);
  addOperatorRoutes(http, api);
  const guard = new LinkGuard(config.peers, metrics);
  const grpc = createControlGrpc({ controller, shardCount, log, metrics }, guard, api);

  const httpPort = await listenHttp(http, config.host, config.httpPort);
  const tls = await serverCredentials(config.tls, log);
  const grpcPort = await bindGrpc(grpc.server, config.host, config.grpcPort, tls);
  const url = config.advertisedUrl ?? `http://${hostname()}:${httpPort}`;
  const leadership = new Leadership(
    link.commands,
    { id: controlId, url },
    incarnation,
    (leader) => controller.onLeader(leader),
    log,
  );
  const everySecond = setInterval(() => {
    void restoreSettings(link, config);
    const status = notReadyReasons().length === 0 ? 'SERVING' : 'NOT_SERVING';
    for (const service of ['', ...SERVICES]) grpc.health.setStatus(service, status);
  }, 1_000);

  stopOnSignals(log, async () => {
    clearInterval(everySecond);
    await leadership.close();
    controller.close();
    await http.close();
    // Sessions and watches never end by themselves; edges and routers come back to whoever is next.
    grpc.server.forceShutdown();
    channels.close();
    await link.close();
  });
  announceListening(log, { http: httpPort, grpc: grpcPort });
});

function countEdges(metrics: Metrics, controller: Controller): void {
  new Gauge({
    name: 'longline_control_edges',
    help: 'Edges by state.',
    labelNames: ['state'],
    registers: [metrics.registry],
    collect() {
      for (const state of ['alive', 'suspect', 'dead']) this.set({ state }, 0);
      for (const edge of controller.edges) this.inc({ state: edge.state.type });
    },
  });
  new Gauge({
    name: 'longline_control_edges_desired',
    help: 'Edges that the connected clients take. Only while this control leads and knows.',
    registers: [metrics.registry],
    collect() {
      const wanted = edgesDesired(controller.edges);
      if (wanted === undefined) this.remove();
      else this.set(wanted);
    },
  });
}
