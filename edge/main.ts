/** Starts an edge: settings from the environment, wiring, signals. */
import { randomUUID } from 'node:crypto';
import { totalmem } from 'node:os';
import { openAuthenticator } from '../common/auth/open-authenticator.js';
import { AssignmentFeed, followRedis } from '../common/cluster/assignment-feed.js';
import { joinCluster } from '../common/cluster/join.js';
import { shardOf } from '../common/cluster/shard.js';
import { linkMetadata } from '../common/process/grpc-link.js';
import { linkCredentials } from '../common/process/grpc-tls.js';
import { addReadyRoute, createHttpServer, listenHttp } from '../common/process/http-server.js';
import { announceListening, runRole, stopOnSignals } from '../common/process/lifecycle.js';
import { createLogger } from '../common/process/log.js';
import { Metrics } from '../common/process/metrics.js';
import { openFilesMax } from '../common/process/open-files.js';
import { PrivateChannels } from '../common/cluster/private-channels.js';
import { openTransport } from '../common/transport/open-transport.js';
import { TlsIdentity } from '../common/transport/tls-identity.js';
import type { Stats } from '../proto/gen/longline/v1/edge_session.js';
import { DevicePort } from './accept/device-port.js';
import { HANDSHAKE_STEP_MS } from './accept/handshakes.js';
import { PeerAddresses } from './accept/peer-addresses.js';
import { defaultAdvertisedUrl, parseEdgeConfig } from './config.js';
import { Convergence } from './drain/convergence.js';
import { Goaways } from './drain/goaways.js';
import { GOAWAY_STEP_MS, Shutdown } from './drain/shutdown.js';
import { HttpDetector } from './protocol/http/detector.js';
import { NdjsonProtocol } from './protocol/http/ndjson.js';
import { SseProtocol } from './protocol/http/sse.js';
import { MqttConnectionTable } from './protocol/mqtt/connection-table.js';
import { MqttCounters } from './protocol/mqtt/counters.js';
import { MqttDetector } from './protocol/mqtt/detector.js';
import { MqttProtocol } from './protocol/mqtt/mqtt.js';
import type { Protocol } from './protocol/protocol.js';
import { countFailures } from './protocol/websocket/inbound.js';
import { JsonWebSocketProtocol } from './protocol/websocket/json.js';
import { RawWebSocketProtocol } from './protocol/websocket/raw.js';
import { ControlLink } from './report/control-link.js';
import { EventLoopLag, MessageRates, memoryHeadroom } from './report/load.js';
import { MemoryAccount, readProc } from './report/memory.js';
import { parseSlabs } from './report/slab.js';
import { CatchUp } from './session/catch-up.js';
import { Clients } from './session/clients.js';
import { CONFIRMATIONS_FLUSH_MS, Confirmations } from './session/confirmations.js';
import { Connections } from './session/connections.js';
import { MqttSessions, SESSION_SECONDS_MAX } from './session/mqtt-sessions.js';
import { Takeover } from './session/takeover.js';
import { TokenExpiry } from './session/token-expiry.js';
import { Delivery } from './shards/delivery.js';
import { Replies } from './shards/replies.js';
import { Shards } from './shards/shards.js';

/** Room for connections that are being told that the edge is full. */
const REFUSALS_AT_ONCE_MAX = 128;

/** With less of its memory free an edge takes nobody new: what it holds already may still grow. */
const HEADROOM_MIN = 0.05;

/**
 * A lost last push of a shard is found after two looks at its counter. Every step looks at a part of
 * the shards, so that each is looked at every two seconds.
 */
const COUNTERS_STEP_MS = 100;
const COUNTERS_PARTS = 20;

await runRole(async () => {
  const config = parseEdgeConfig(process.env, openFilesMax());
  const { edgeId, shardCount } = config;
  const incarnation = randomUUID();
  const log = createLogger('edge', edgeId, config.logLevel);
  const metrics = new Metrics();

  const link = await joinCluster({
    config,
    name: edgeId,
    host: config.host,
    port: config.adminPort,
    log,
    metrics,
  });
  const privateChannels = new PrivateChannels(link, shardCount, `${edgeId}:${incarnation}`, log);

  const sse = new SseProtocol();
  const ndjson = new NdjsonProtocol();
  const failures = countFailures(metrics);
  const websocketRaw = new RawWebSocketProtocol(config, failures, metrics);
  const websocketJson = new JsonWebSocketProtocol(config, failures);
  const mqttConnections = new MqttConnectionTable();
  const mqttSessions = new MqttSessions(link, (clientId) =>
    shards.tagOf(shardOf(clientId, shardCount)),
  );
  const mqttCounters = new MqttCounters(metrics);
  const mqtt = {
    4: new MqttProtocol(4, config, mqttConnections, mqttSessions, mqttCounters),
    5: new MqttProtocol(5, config, mqttConnections, mqttSessions, mqttCounters),
  };
  const mqttConfig = { ...config, mqttSessionSecondsMax: SESSION_SECONDS_MAX };
  const overHttp = { sse, ndjson, websocketRaw, websocketJson };
  const protocols: readonly Protocol[] = [...Object.values(overHttp), mqtt[4], mqtt[5]];
  const detectors = [
    new HttpDetector(config, overHttp),
    new MqttDetector(mqttConfig, mqtt, mqttConnections, mqttSessions),
  ] as const;

  const table = new Connections(shardCount, protocols);
  const dropped = metrics.counter(
    'longline_edge_replies_dropped_total',
    'Answers that Redis did not take.',
  );
  const replies = new Replies(edgeId, link, dropped);
  const rates = new MessageRates(shardCount, Date.now());
  const delivery = new Delivery(link, shardCount, replies, rates, log, metrics);
  const shards = new Shards(edgeId, table, link.subscriber, delivery, config.guestShardsMax);
  const feed = new AssignmentFeed((assignment) => goaways.assign(assignment), metrics, 'edge');
  const auth = await openAuthenticator(config.jwt, log, metrics, 'edge');
  const { authenticator } = auth;
  const origins = new PeerAddresses();
  const port = new DevicePort(config, () => feed.current, origins, authenticator, metrics);
  const handshakesFailed = metrics.counter(
    'longline_edge_tls_handshakes_failed_total',
    'TLS handshakes with devices that were not completed.',
  );
  const isTls = config.tls.length > 0;
  const identity = isTls
    ? await TlsIdentity.open(config.tls, () => handshakesFailed.inc(), log)
    : undefined;
  const limits = {
    connectionsMax: config.connectionsMax + REFUSALS_AT_ONCE_MAX,
    sendBufferBytesMax: config.sendBufferBytesMax,
  };
  const { transport, name, reason } = openTransport(config.transport, port, limits, identity);
  log.info({ transport: name, reason }, 'the transport is chosen');
  const catchUp = new CatchUp(
    table,
    transport,
    link,
    (shard) => shards.tagOf(shard),
    (connection) => clients.end(connection, 'slow'),
    metrics,
  );
  const confirmations = new Confirmations(link, metrics);
  const tokenExpiry = new TokenExpiry(table, transport, authenticator, (connection) =>
    clients.end(connection, 'expired'),
  );
  const clients: Clients = new Clients(
    table,
    shards,
    transport,
    catchUp,
    confirmations,
    tokenExpiry,
    new Takeover(incarnation),
    edgeId,
    config.inboundBytesPerSecondMax,
    origins,
    (connection, renewed) => delivery.announce(connection, renewed),
    metrics,
  );
  delivery.clients = port.clients = clients;
  delivery.shards = shards;
  for (const protocol of protocols) protocol.host = clients;
  port.transport = origins.transport = transport;
  port.detectors = detectors;
  const shutdown = new Shutdown(config, Date.now());
  const goaways: Goaways = new Goaways(clients, shutdown, feed, metrics);
  const lag = new EventLoopLag();

  metrics.gauge('longline_edge_connections', 'Connections that hold a client.', () => table.count);
  metrics.gauge(
    'longline_edge_transport_native',
    '1 when the native transport holds the connections, 0 when the portable one does.',
    () => (name === 'native' ? 1 : 0),
  );
  metrics.gauge(
    'longline_edge_accept_pauses',
    'Times that nothing was accepted for half a second, as the system had run out of descriptors.',
    () => transport.acceptPauses(),
  );
  // Read once: it takes milliseconds, and the kernel does not change the size of its objects.
  const slabs = parseSlabs(readProc('/proc/slabinfo') ?? '');
  const memory = new MemoryAccount(() => {
    const { rss, heapUsed, heapTotal } = process.memoryUsage();
    return {
      connections: table.count,
      resident: rss,
      heapUsed,
      heapTotal,
      table: table.bytes + mqttConnections.bytes + origins.bytes,
      ...transport.memory(),
      slabs,
      sockstat: readProc('/proc/net/sockstat'),
    };
  });
  metrics.gauges(
    'longline_edge_memory_bytes',
    'Where the memory of the edge and of its connections is, by part.',
    'part',
    () => memory.parts().map(({ name, bytes }) => [name, bytes]),
  );
  metrics.gauge('longline_edge_guests', 'Clients whose shard another edge owns.', () =>
    shards.guestCount(),
  );
  metrics.gauge(
    'longline_edge_shards_not_owned',
    'Shards of other edges that this edge listens to, for guests or because they are moving.',
    () => shards.foreignCount,
  );
  metrics.gauge(
    'longline_edge_shards_owned',
    'Shards that this edge owns.',
    () => shards.ownedCount,
  );

  const notReadyReasons = () => {
    const reasons = [...privateChannels.notDeliveringReasons()];
    if (feed.current === undefined) reasons.push('no assignment is known yet');
    const unconfirmed = shards.unconfirmedOwnedCount();
    if (unconfirmed > 0) reasons.push(`${unconfirmed} owned shards are not subscribed yet`);
    reasons.push(...auth.notReadyReasons());
    if (shutdown.isLeaving) reasons.push('the edge is leaving');
    return reasons;
  };
  const headroom = () => {
    const limit = process.constrainedMemory() ?? 0;
    return memoryHeadroom(process.memoryUsage.rss(), limit, totalmem());
  };
  const measure = (): Stats => {
    const perSecond = rates.read(Date.now());
    const { shards: held, connections } = table.loads();
    const messagesPer1000Seconds = held.map((shard) => Math.round(perSecond[shard]! * 1_000));
    return {
      measuredUnder: feed.position,
      loads: { shards: held, connections, messagesPer1000Seconds },
      connections: table.count,
      guests: shards.guestCount(),
      shardsSubscribed: shards.confirmedCount(),
      ready: notReadyReasons().length === 0,
      memory: memory.parts(),
      acquired: shards.acquired(),
      released: shards.released(),
      shuttingDown: shutdown.isLeaving,
      handshakesPending: port.waitingCount,
      eventLoopLagMs: lag.read(),
      memoryHeadroom: headroom(),
      goawaysPending: goaways.waiting,
    };
  };

  const stopping = new AbortController();
  let control: ControlLink | undefined;
  await followRedis(feed, link, shardCount, () => control?.isUp ?? false, log, stopping.signal);

  const devicePort = await transport.listen(config.host, config.port);
  const admin = createHttpServer(metrics, notReadyReasons);
  const convergence = new Convergence(edgeId, incarnation);
  addReadyRoute(admin, '/convergedz', () => {
    const unsettled = convergence.notConvergedBecause(Date.now(), feed.current);
    return [...notReadyReasons(), ...(unsettled === undefined ? [] : [unsettled])];
  });
  const adminPort = await listenHttp(admin, config.host, config.adminPort);
  const advertisedUrl = config.advertisedUrl ?? defaultAdvertisedUrl(devicePort, isTls);
  control = new ControlLink(
    config.controlAddresses,
    await linkCredentials(config.link.tls, log),
    linkMetadata(config.link.token),
    feed,
    () => ({
      edgeId,
      incarnation,
      advertisedUrl,
      frontAddress: config.frontAddress,
      capacity: config.connectionsMax,
      shardCount,
      have: feed.position,
      zone: config.zone,
    }),
    measure,
    log,
  );

  const heartbeatParts = Math.ceil(config.heartbeatMs / 1000);
  let tick = 0;
  const sweep = setInterval(() => {
    port.sweep(Date.now());
    port.isShort = headroom() < HEADROOM_MIN;
    delivery.sweep(Date.now());
    clients.heartbeat(tick % heartbeatParts, heartbeatParts);
    clients.sweep();
    tick++;
  }, 1000);

  let look = 0;
  const looking = setInterval(() => {
    delivery.lookAtCounters(look++ % COUNTERS_PARTS, COUNTERS_PARTS);
  }, COUNTERS_STEP_MS);

  let steppedAtMs = performance.now();
  const letting = setInterval(() => {
    const nowMs = performance.now();
    port.letIn(Math.max(0, nowMs - steppedAtMs - HANDSHAKE_STEP_MS));
    steppedAtMs = nowMs;
  }, HANDSHAKE_STEP_MS);
  const confirming = setInterval(() => void confirmations.flush(), CONFIRMATIONS_FLUSH_MS);

  const step = () => {
    const startsUnsubscribed = privateChannels.notDeliveringReasons().length > 0;
    const { isClosing, isOver } = goaways.step(Date.now(), control, startsUnsubscribed);
    port.isClosing = isClosing && shutdown.isLeaving;
    if (isOver) stop('has left');
  };
  const stepping = setInterval(step, GOAWAY_STEP_MS);

  const stop = stopOnSignals(
    log,
    async () => {
      clearInterval(sweep);
      clearInterval(stepping);
      clearInterval(confirming);
      clearInterval(letting);
      clearInterval(looking);
      stopping.abort();
      control.close();
      auth.close();
      identity?.close();
      await transport.close();
      await confirmations.flush();
      await admin.close();
      privateChannels.close();
      await link.close();
    },
    () => {
      shutdown.leave(Date.now());
      control.reportSoon();
      step();
    },
  );
  log.info({ advertisedUrl, incarnation, connectionsMax: config.connectionsMax }, 'edge is up');
  announceListening(log, { devices: devicePort, admin: adminPort });
});
