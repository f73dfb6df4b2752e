/** Starts a control: settings from the environment, wiring, signals. */
import { randomUUID } from 'node:crypto';
import { Gauge } from 'prom-client';
import { Asker } from '../common/ask.js';
import { bindGrpc } from '../common/grpc-server.js';
import { createHttpServer, listenHttp } from '../common/http-server.js';
import { announceListening, runRole, stopOnSignals } from '../common/lifecycle.js';
import { createLogger } from '../common/log.js';
import { Metrics } from '../common/metrics.js';
import { agreeOnSettings, restoreSettings } from '../common/redis/cluster-settings.js';
import { PrivateChannels } from '../common/redis/private-channels.js';
import { openRedis } from '../common/redis/redis-link.js';
import { Assigner } from './assigner.js';
import { parseControlConfig, shownSettings } from './config.js';
import { createControlGrpc, SERVICES } from './control-grpc.js';
import { Access } from './operator/access.js';
import { addOperatorRoutes } from './operator/http.js';
import { nothingMoves } from './operator/nothing-moves.js';
import { OperatorOrders } from './operator/orders.js';
import { OperatorQueries } from './operator/queries.js';
import type { Steering } from './steering.js';

/** Operators' questions about clients that wait for an answer. */
const ASKS_IN_FLIGHT_MAX = 1_000;

await runRole(async () => {
  const config = parseControlConfig(process.env);
  const { controlId, shardCount, leaseMs } = config;
  const log = createLogger('control', controlId, config.logLevel);
  const metrics = new Metrics();

  const link = await openRedis({ urls: config.redisUrls, name: controlId, log, metrics });
  await agreeOnSettings(link, config);
  const channels = new PrivateChannels(link, shardCount, `${controlId}:${randomUUID()}`, log);
  const asker = new Asker(link, channels, shardCount, ASKS_IN_FLIGHT_MAX, metrics, 'control');
  channels.onReplies = (batch) => asker.onReplies(batch);

  const assigner = new Assigner({ link, shardCount, leaseMs, log, metrics });
  const queries = new OperatorQueries(
    shardCount,
    () => ({ assignment: assigner.current, edges: assigner.members.edges, leader: controlId }),
    (clientId) => asker.askPresence(clientId),
  );
  // TO BE REPLACED by the steering of the control that leads, as `leader` above.
  const steering: Steering = nothingMoves;
  const api = {
    queries,
    orders: new OperatorOrders(steering),
    access: new Access(config.operatorTokens, config.viewerTokens),
    settings: { ...shownSettings(process.env), LONGLINE_CONTROL_ID: controlId },
  };
  countEdges(metrics, assigner);

  const notReadyBecause = () => [...channels.notDeliveringBecause(), ...assigner.notReadyBecause()];
  const http = createHttpServer(metrics, notReadyBecause);
  addOperatorRoutes(http, api);
  const grpc = createControlGrpc({ assigner, shardCount, log, metrics }, api);

  const httpPort = await listenHttp(http, config.host, config.httpPort);
  const grpcPort = await bindGrpc(grpc.server, config.host, config.grpcPort);
  const everySecond = setInterval(() => {
    void restoreSettings(link, config);
    const status = notReadyBecause().length === 0 ? 'SERVING' : 'NOT_SERVING';
    for (const service of ['', ...SERVICES]) grpc.health.setStatus(service, status);
  }, 1_000);

  stopOnSignals(log, async () => {
    clearInterval(everySecond);
    assigner.close();
    await http.close();
    // Sessions and watches never end by themselves; edges and routers come back to whoever is next.
    grpc.server.forceShutdown();
    channels.close();
    await link.close();
  });
  announceListening(log, { http: httpPort, grpc: grpcPort });
});

function countEdges(metrics: Metrics, assigner: Assigner): void {
  new Gauge({
    name: 'longline_control_edges',
    help: 'Edges by state.',
    labelNames: ['state'],
    registers: [metrics.registry],
    collect() {
      for (const state of ['alive', 'suspect', 'dead']) this.set({ state }, 0);
      for (const edge of assigner.members.edges) this.inc({ state: edge.state.type });
    },
  });
}
