/** Starts a router: settings from the environment, wiring, signals. */
import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { openAuthenticator } from '../common/auth/open-authenticator.js';
import { AssignmentFeed, followRedis } from '../common/cluster/assignment-feed.js';
import { joinCluster } from '../common/cluster/join.js';
import { ShardQueries } from '../common/cluster/shard-query.js';
import { linkMetadata } from '../common/process/grpc-link.js';
import { bindGrpc, createGrpcServer } from '../common/process/grpc-server.js';
import { linkCredentials, serverCredentials } from '../common/process/grpc-tls.js';
import { createHttpServer, listenHttp } from '../common/process/http-server.js';
import { announceListening, runRole, stopOnSignals } from '../common/process/lifecycle.js';
import { createLogger } from '../common/process/log.js';
import { Metrics } from '../common/process/metrics.js';
import { openFilesMax } from '../common/process/open-files.js';
import { PrivateChannels } from '../common/redis/private-channels.js';
import { PushServiceService } from '../proto/gen/longline/v1/push.js';
import { parseRouterConfig } from './config.js';
import { FrontPort } from './front/listener.js';
import { AssignmentLink } from './lookup/assignment-link.js';
import { addConnectRoute } from './lookup/connect-route.js';
import { Backends } from './push/backends.js';
import { createPushService } from './push/push-service.js';
import { Pusher } from './push/pusher.js';
import { SafeWriters } from './push/safe-writer.js';

/** A frame of PushStream carries several payloads; below this nobody has to think about it. */
const GRPC_MESSAGE_BYTES_MIN = 4 * 1024 * 1024;
const PUSH_SERVICE = 'longline.v1.PushService';

await runRole(async () => {
  const config = parseRouterConfig(process.env, openFilesMax());
  const { routerId, shardCount } = config;
  const log = createLogger('router', routerId, config.logLevel);
  const metrics = new Metrics();

  const link = await joinCluster({
    config,
    name: routerId,
    host: config.host,
    port: config.httpPort,
    log,
    metrics,
  });
  const processId = `${routerId}:${randomUUID()}`;
  const channels = new PrivateChannels(link, shardCount, processId, log);
  const shardQueries = new ShardQueries(
    link,
    channels,
    shardCount,
    config.inFlightMax,
    metrics,
    'router',
  );
  channels.onReplies = (batch) => shardQueries.onReplies(batch);

  const stopping = new AbortController();
  // Each stream of pushes wants to know.
  setMaxListeners(0, stopping.signal);
  const feed = new AssignmentFeed((assignment) => front?.assign(assignment), metrics, 'router');
  const front =
    config.front &&
    new FrontPort(
      config.front,
      config.transport,
      () => feed.current,
      () => stop('has let its devices go'),
      log,
      metrics,
    );
  let control: AssignmentLink | undefined;
  await followRedis(feed, link, shardCount, () => control?.isUp ?? false, log, stopping.signal);
  control = new AssignmentLink(
    config.controlAddresses,
    await linkCredentials(config.link.tls, log),
    linkMetadata(config.link.token),
    feed,
    shardCount,
    log,
  );

  const auth = await openAuthenticator(config.jwt, log, metrics, 'router');
  const notReadyReasons = () => {
    const reasons = [...channels.notDeliveringBecause()];
    reasons.push(...auth.notReadyReasons());
    if (feed.current === undefined) reasons.push('no assignment is known yet');
    if (front?.isLeaving) reasons.push('the router is leaving');
    return reasons;
  };
  const http = createHttpServer(metrics, notReadyReasons);
  const { authenticator } = auth;
  addConnectRoute(http, () => feed.current, shardCount, config.corsOrigins, authenticator, metrics);

  const grpc = createGrpcServer([PUSH_SERVICE], {
    'grpc.max_receive_message_length': Math.max(
      GRPC_MESSAGE_BYTES_MIN,
      config.payloadBytesMax + 65_536,
    ),
  });
  const writers = new SafeWriters(link, config.inbox);
  const pusher = new Pusher(shardQueries, link, writers, config, metrics);
  const backends = new Backends(config.backends, config.pushesPerSecondMax, metrics);
  await backends.watchFile(log);
  grpc.server.addService(
    PushServiceService,
    createPushService(pusher, backends, log, stopping.signal),
  );

  const httpPort = await listenHttp(http, config.host, config.httpPort);
  const frontPort = await front?.listen(config.host);
  const tls = await serverCredentials(config.backends.tls, log);
  const grpcPort = await bindGrpc(grpc.server, config.host, config.grpcPort, tls);
  const health = setInterval(() => {
    const status = channels.notDeliveringBecause().length === 0 ? 'SERVING' : 'NOT_SERVING';
    for (const service of ['', PUSH_SERVICE]) grpc.health.setStatus(service, status);
  }, 1_000);

  const stop = stopOnSignals(
    log,
    async () => {
      clearInterval(health);
      stopping.abort();
      await front?.close();
      control.close();
      auth.close();
      await http.close();
      await new Promise<void>((resolve) => grpc.server.tryShutdown(() => resolve()));
      channels.close();
      writers.close();
      await link.close();
    },
    front && (() => front.leave()),
  );
  announceListening(log, {
    http: httpPort,
    grpc: grpcPort,
    ...(frontPort === undefined ? {} : { front: frontPort }),
  });
});
