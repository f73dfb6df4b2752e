/** Creates the parts of an edge in the order of their dependencies, and connects them. */
import type { Authenticator } from '../common/auth/authenticator.js';
import { AssignmentFeed } from '../common/cluster/assignment-feed.js';
import { ShardNames } from '../common/cluster/shard-names.js';
import type { Logger } from '../common/process/log.js';
import type { MemoryWatch } from '../common/process/memory/memory-watch.js';
import type { Metrics } from '../common/process/metrics.js';
import type { RedisLink } from '../common/redis/redis-link.js';
import type { TlsIdentity } from '../common/transport/tls-identity.js';
import type { Connection, Transport } from '../common/transport/transport.js';
import { DevicePort } from './accept/device-port.js';
import { PeerAddresses } from './accept/peer-addresses.js';
import type { EdgeConfig } from './config.js';
import { openDeviceTransport } from './device-transport.js';
import { Goaways } from './drain/goaways.js';
import { Shutdown } from './drain/shutdown.js';
import { createProtocols } from './protocols.js';
import { MessageRates } from './report/load.js';
import { ReconnectLoops } from './report/reconnect-loops.js';
import { CatchUp } from './session/catch-up.js';
import { Clients } from './session/clients.js';
import { Confirmations } from './session/confirmations.js';
import { Connections } from './session/connections.js';
import { MessageLimits } from './session/message-limits.js';
import { SkippedPushes } from './session/skipped-pushes.js';
import { Takeover } from './session/takeover.js';
import { TokenExpiry } from './session/token-expiry.js';
import { Announcements } from './shards/announcements.js';
import { Delivery } from './shards/delivery.js';
import { LostHistory } from './shards/lost-history.js';
import { RedisClocks } from './shards/redis-clocks.js';
import { Replies } from './shards/replies.js';
import { Shards } from './shards/shards.js';

export interface EdgeOptions {
  readonly config: EdgeConfig;
  /** Unique per process start. */
  readonly incarnation: string;
  readonly link: RedisLink;
  readonly authenticator: Authenticator;
  readonly identity: TlsIdentity | undefined;
  readonly memory: Pick<MemoryWatch, 'isLow'>;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export type Edge = ReturnType<typeof createEdge>;

export function createEdge(options: EdgeOptions) {
  const { config, link, authenticator, memory, metrics } = options;
  const { edgeId } = config;
  const transport = openDeviceTransport({ ...options, handler: () => port });
  const peers = new PeerAddresses(transport);
  const sessions = createSessions(options, transport, peers);
  const { names, table, shards, limits, clients, catchUp, tokenExpiry } = sessions;
  const shutdown = new Shutdown(config, performance.now());
  const feed: AssignmentFeed = new AssignmentFeed(
    (assignment) => goaways.assign(assignment),
    metrics,
    'edge',
  );
  const goaways = new Goaways({
    edgeId,
    table,
    clients,
    tokenExpiry,
    limits,
    shards,
    shutdown,
    feed,
    metrics,
  });
  const { detectors, mqttConnections } = createProtocols({
    config,
    host: clients,
    link,
    names,
    metrics,
  });
  const port: DevicePort = new DevicePort({
    config,
    transport,
    detectors,
    peers,
    authenticator,
    assignment: () => feed.current,
    shards,
    table,
    clients,
    onTurnedAway: (clientId) =>
      sessions.reconnectLoops.add(clientId, 'rejected', performance.now()),
    pendingReads: () => catchUp.pendingReads,
    memory,
    pushesWritten: () => sessions.rates.written,
    metrics,
  });
  return { ...sessions, transport, peers, mqttConnections, shutdown, feed, goaways, port };
}

/** The connection table, the clients, and the delivery of their pushes. */
function createSessions(options: EdgeOptions, transport: Transport, peers: PeerAddresses) {
  const { config, incarnation, link, authenticator, log, metrics } = options;
  const { edgeId, shardCount, inboundBytesPerSecondMax } = config;
  const names = new ShardNames(link.names, shardCount);
  const table = new Connections(shardCount);
  const shards = new Shards({
    edgeId,
    names,
    clientCounts: table,
    subscriber: link.subscriber,
    guestShardsMax: config.guestShardsMax,
    handler: () => delivery,
  });
  const limits = new MessageLimits();
  const redisClocks = new RedisClocks(shardCount);
  const skippedPushes = new SkippedPushes({ table, link, names, redisClocks, log, metrics });
  const onOverLimit = (connection: Connection, id: string) =>
    skippedPushes.skip(connection, id, 'over_limit');
  const reconnectLoops = new ReconnectLoops();
  const catchUp = new CatchUp({
    table,
    transport,
    link,
    names,
    redisClocks,
    onSlow: (connection) => clients.end(connection, 'slow'),
    limits,
    onOverLimit,
    onCorrupt: (connection, id) => skippedPushes.skip(connection, id, 'corrupt'),
    metrics,
  });
  const confirmations = new Confirmations(link, metrics);
  const tokenExpiry = new TokenExpiry(table, transport, authenticator, (connection) =>
    clients.end(connection, 'expired'),
  );
  const announcements = new Announcements(link, incarnation, names);
  const clients: Clients = new Clients({
    edgeId,
    inboundBytesPerSecondMax,
    table,
    names,
    shards,
    transport,
    peers,
    catchUp,
    confirmations,
    tokenExpiry,
    takeover: new Takeover(incarnation),
    announcements,
    limits,
    onEnded: (connection, clientId, reason) => {
      const nowMs = performance.now();
      skippedPushes.onEnded(connection, clientId, reason, nowMs);
      reconnectLoops.add(clientId, reason, nowMs);
    },
    onOverLimit,
    metrics,
  });
  const replies = new Replies(edgeId, link, metrics);
  const rates = new MessageRates(shardCount, performance.now());
  const lostHistory = new LostHistory({
    link,
    names,
    shards,
    pendingReads: () => catchUp.pendingReads,
    onMarked: (shard, sinceMs) => clients.onHistoryLost(shard, sinceMs),
    log,
    metrics,
  });
  link.requirements.onEvicted = (master, sinceMs, cause) =>
    lostHistory.onEvicted(master, sinceMs, cause);
  const delivery: Delivery = new Delivery({
    link,
    names,
    redisClocks,
    shards,
    clients,
    announcements,
    replies,
    rates,
    lostHistory,
    log,
    metrics,
  });
  const reported = { rates, reconnectLoops, skippedPushes, lostHistory };
  const parts = { names, table, shards, limits, catchUp, confirmations, tokenExpiry, clients };
  return { ...parts, ...reported, delivery };
}
