/** Creates the parts of an edge in the order of their dependencies, and connects them. */
import { type Authenticator, acceptAll } from '../common/auth/authenticator.js';
import { ALL_GROUPS, NO_GROUPS } from '../common/auth/claims/group-claims.js';
import { AssignmentFeed } from '../common/cluster/assignment-feed.js';
import { boundsFor, type EventConfig } from '../common/cluster/events/event-stream.js';
import { ShardNames } from '../common/cluster/shard-names.js';
import type { Logger } from '../common/process/log.js';
import type { MemoryWatch } from '../common/process/memory/memory-watch.js';
import type { Metrics } from '../common/process/metrics.js';
import type { Tracer } from '../common/process/tracing/tracer.js';
import type { RedisLink } from '../common/redis/redis-link.js';
import type { TlsIdentity } from '../common/transport/tls-identity.js';
import type { Connection, Transport } from '../common/transport/transport.js';
import { Blocks } from './accept/blocks.js';
import { DevicePort } from './accept/device-port.js';
import { PeerAddresses } from './accept/peer-addresses.js';
import type { EdgeConfig } from './config.js';
import { openDeviceTransport } from './device-transport.js';
import { Goaways } from './drain/goaways.js';
import { Shutdown } from './drain/shutdown.js';
import { createProtocols } from './protocols.js';
import { ConfirmedPushes } from './report/confirmed-pushes.js';
import { Gaps } from './report/gaps.js';
import { MessageRates } from './report/load.js';
import { ReconnectLoops } from './report/reconnect-loops.js';
import { CatchUp } from './session/catch-up.js';
import { Clients } from './session/clients.js';
import { Confirmations } from './session/confirmations.js';
import { ConnectionLabels } from './session/connection-labels.js';
import { Connections } from './session/connections.js';
import { DeviceGroups } from './session/device-groups.js';
import { MessageLimits } from './session/message-limits.js';
import { ClientScans } from './session/operators/client-scans.js';
import { Revocations } from './session/operators/revocations.js';
import { SkippedPushes } from './session/skipped-pushes.js';
import { PushCounts } from './session/slow/push-counts.js';
import { SlowDevices } from './session/slow/slow-devices.js';
import { Takeover } from './session/takeover.js';
import { TokenExpiry } from './session/token-expiry.js';
import { Announcements } from './shards/announcements.js';
import { Delivery } from './shards/delivery.js';
import { DeadEdges } from './shards/events/dead-edges.js';
import { DroppedPushes } from './shards/events/dropped-pushes.js';
import { DueEvents } from './shards/events/due-events.js';
import { EndedClients } from './shards/events/ended-clients.js';
import { LostEvents } from './shards/events/lost-events.js';
import { LostHistory } from './shards/lost-history.js';
import { OtherEdges } from './shards/other-edges.js';
import { PushTraces } from './shards/push-traces.js';
import { RedisClocks } from './shards/redis-clocks.js';
import { Replies } from './shards/replies.js';
import { Shards } from './shards/shards.js';
import { Standing } from './shards/standing.js';

export interface EdgeOptions {
  readonly config: EdgeConfig;
  /** Unique per process start. */
  readonly incarnation: string;
  readonly link: RedisLink;
  readonly authenticator: Authenticator;
  readonly identity: TlsIdentity | undefined;
  readonly memory: Pick<MemoryWatch, 'isLow'>;
  /** Undefined: there is no tracing. */
  readonly tracer: Tracer | undefined;
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
  const { names, table, shards, limits, labels, groups, clients, catchUp, tokenExpiry } = sessions;
  const shutdown = new Shutdown(config, performance.now());
  const feed: AssignmentFeed = new AssignmentFeed(
    (assignment) => {
      // First: a shard that becomes this edge's own may have clients on the edge that hands it
      // over.
      sessions.otherEdges.assign(assignment, performance.now());
      goaways.assign(assignment);
    },
    metrics,
    'edge',
  );
  const goaways = new Goaways({
    edgeId,
    table,
    clients,
    tokenExpiry,
    limits,
    labels,
    shards,
    shutdown,
    feed,
    metrics,
  });
  const { detectors, mqttConnections } = createProtocols({
    config,
    host: clients,
    groups,
    link,
    names,
    metrics,
  });
  const eventParts = createEvents(options, sessions, feed);
  const endBlocked = (name: string) => {
    for (const connection of table.named(name)) clients.end(connection, 'disconnected');
  };
  const blocks = new Blocks(link, sessions.revocations, endBlocked, metrics);
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
    blocks,
    labels,
    onTurnedAway: (clientId) =>
      sessions.reconnectLoops.add(clientId, 'rejected', performance.now()),
    pendingReads: () => catchUp.pendingReads,
    memory,
    pushesWritten: () => sessions.rates.written,
    metrics,
  });
  const parts = { transport, peers, mqttConnections, shutdown, feed, goaways, blocks, port };
  return { ...sessions, ...eventParts, ...parts };
}

/**
 * The parts that look for events which no other part writes; undefined while their subject is off.
 */
function createEvents(
  { incarnation, link, metrics }: EdgeOptions,
  { names, shards, events }: Pick<ReturnType<typeof createSessions>, 'names' | 'shards' | 'events'>,
  feed: AssignmentFeed,
) {
  const clients = boundsFor(events, 'clients');
  const due = clients ?? boundsFor(events, 'pushes');
  const living = () =>
    feed.current && [incarnation, ...feed.current.edges.map((edge) => edge.incarnation)];
  return {
    deadEdges: clients && new DeadEdges({ link, names, shards, living, bounds: clients }),
    dueEvents: due && new DueEvents({ link, names, shards, bounds: due, metrics }),
  };
}

/** The connection table, the clients, and the delivery of their pushes. */
function createSessions(options: EdgeOptions, transport: Transport, peers: PeerAddresses) {
  const { config, incarnation, link, authenticator, log, metrics } = options;
  const { edgeId, shardCount, inboundBytesPerSecondMax } = config;
  const names = new ShardNames(link.names, shardCount);
  const events: EventConfig = {
    ...config.events,
    onWritten: (channel, id) => lostEvents?.onWritten(channel, id),
  };
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
  const labels = new ConnectionLabels(config.labelSetsMax, config.queryLabels, metrics);
  const counts = new PushCounts();
  const redisClocks = new RedisClocks(shardCount);
  const pushBounds = boundsFor(events, 'pushes');
  const skippedPushes = new SkippedPushes({
    table,
    link,
    names,
    redisClocks,
    events: pushBounds,
    log,
    metrics,
  });
  const onOverLimit = (connection: Connection, id: string) =>
    skippedPushes.skip(connection, id, 'over_limit');
  const reconnectLoops = new ReconnectLoops();
  const confirmed = new ConfirmedPushes(
    shardCount,
    (...times) => redisClocks.elapsedMs(...times),
    metrics,
  );
  const catchUp = new CatchUp({
    table,
    transport,
    link,
    names,
    redisClocks,
    confirmed,
    onSlow: (connection) => clients.end(connection, 'slow'),
    counts,
    limits,
    onOverLimit,
    onCorrupt: (connection, id) => skippedPushes.skip(connection, id, 'corrupt'),
    events: pushBounds,
    metrics,
  });
  const confirmations = new Confirmations(link, pushBounds, confirmed, shardCount, metrics);
  const groups = new DeviceGroups({
    link,
    names,
    clientIdOf: (connection) => table.clientIdOf(connection),
    usualClaims: authenticator === acceptAll ? ALL_GROUPS : NO_GROUPS,
    events: boundsFor(events, 'groups'),
    metrics,
  });
  const clientBounds = boundsFor(events, 'clients');
  const revocations = new Revocations(table, (connection) => clients.end(connection, 'revoked'));
  const tokenExpiry = new TokenExpiry(
    table,
    labels,
    groups,
    transport,
    authenticator,
    (clientId, issuedAtMs) => revocations.isRevoked(clientId, issuedAtMs),
    (connection, reason) => clients.end(connection, reason),
  );
  const droppedPushes =
    pushBounds && new DroppedPushes({ link, names, bounds: pushBounds, metrics });
  const slowDevices = new SlowDevices({
    sendBufferBytesMax: config.sendBufferBytesMax,
    table,
    transport,
    catchUp,
    onDropped: (connection) => {
      counts.onDropped(connection);
      droppedPushes?.add(table.shardOf(connection), table.clientIdOf(connection));
    },
    end: (connection) => clients.end(connection, 'slow'),
  });
  const takeover = new Takeover(incarnation);
  const isConnected = (clientId: string, connection: Connection) =>
    table.has(connection) && table.clientIdOf(connection) === clientId;
  const announcements = new Announcements({
    link,
    edgeId,
    edgeIncarnation: incarnation,
    names,
    keepDevicesS: config.keepDevicesS,
    events: clientBounds && {
      bounds: clientBounds,
      describe: (connection) => ({
        protocol: table.protocolOf(connection).name,
        labels: labels.textOf(connection),
      }),
      onDisputed: (connection, clientId) => {
        if (isConnected(clientId, connection)) takeover.onDisputed(connection);
      },
    },
  });
  const endedClients =
    clientBounds &&
    new EndedClients({ link, names, edgeIncarnation: incarnation, bounds: clientBounds, metrics });
  const lostEvents: LostEvents | undefined =
    events.subjects.length === 0
      ? undefined
      : new LostEvents({
          link,
          names,
          edgeIncarnation: incarnation,
          bounds: events,
          isConnected,
          onEnded: (shard, ended) => endedClients?.add(shard, ended),
          metrics,
        });
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
    takeover,
    announcements,
    limits,
    labels,
    counts,
    slowDevices,
    onEnded: (connection, clientId, reason) => {
      groups.forget(connection);
      const nowMs = performance.now();
      skippedPushes.onEnded(connection, clientId, reason, nowMs);
      reconnectLoops.add(clientId, reason, nowMs);
      endedClients?.add(table.shardOf(connection), { clientId, connection, reason });
    },
    onOverLimit,
    metrics,
  });
  const clientScans = new ClientScans({
    table,
    transport,
    counts,
    labels,
    describe: (connection) => clients.describe(connection),
    disconnect: (connection) => clients.end(connection, 'disconnected'),
    metrics,
  });
  const replies = new Replies(edgeId, link, metrics);
  const rates = new MessageRates(shardCount, performance.now());
  const gaps = new Gaps(metrics);
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
  const otherEdges = new OtherEdges(edgeId, metrics);
  const standing = new Standing({ names, shards, announcements, otherEdges });
  const delivery: Delivery = new Delivery({
    link,
    names,
    redisClocks,
    shards,
    clients,
    standing,
    replies,
    traces: new PushTraces({ link, names, tracer: options.tracer }),
    rates,
    gaps,
    lostHistory,
    log,
    metrics,
  });
  const reported = {
    confirmed,
    rates,
    gaps,
    reconnectLoops,
    skippedPushes,
    lostHistory,
    endedClients,
    droppedPushes,
  };
  const parts = {
    names,
    table,
    shards,
    limits,
    labels,
    groups,
    catchUp,
    confirmations,
    tokenExpiry,
    revocations,
    counts,
    slowDevices,
    clientScans,
    clients,
  };
  return { ...parts, ...reported, events, lostEvents, otherEdges, standing, delivery };
}
