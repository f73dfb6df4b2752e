/**
 * Creates the parts of an edge that hold connections and deliver to them: the connection table, the
 * shards, what belongs to a connection, the clients, and the delivery of their pushes.
 */
import { acceptAll } from '../common/auth/authenticator.js';
import { ALL_GROUPS, NO_GROUPS } from '../common/auth/claims/group-claims.js';
import { boundsFor, type EventConfig } from '../common/cluster/events/event-stream.js';
import { ShardNames } from '../common/cluster/shard-names.js';
import type { Connection, Transport } from '../common/transport/transport.js';
import type { PeerAddresses } from './accept/peer-addresses.js';
import type { EdgeOptions } from './edge-options.js';
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
import { DroppedPushes } from './shards/events/dropped-pushes.js';
import { EndedClients } from './shards/events/ended-clients.js';
import { LostEvents } from './shards/events/lost-events.js';
import { LostHistory } from './shards/lost-history.js';
import { OtherEdges } from './shards/other-edges.js';
import { PushTraces } from './shards/push-traces.js';
import { RedisClocks } from './shards/redis-clocks.js';
import { Replies } from './shards/replies.js';
import { Shards } from './shards/shards.js';
import { Standing } from './shards/standing.js';

type State = ReturnType<typeof createState>;
type Events = ReturnType<typeof createEvents>;
type Inboxes = ReturnType<typeof createInboxes>;
type Access = ReturnType<typeof createAccess>;

/** The parts that others are made of. */
interface Base extends EdgeOptions, State, Events {
  readonly shards: Shards;
  readonly transport: Transport;
  readonly peers: PeerAddresses;
  /** Ends a connection. */
  readonly end: Clients['end'];
}

export function createSessions(options: EdgeOptions, transport: Transport, peers: PeerAddresses) {
  const { config, link } = options;
  const state = createState(options);
  const events = createEvents(options, state);
  const shards = new Shards({
    edgeId: config.edgeId,
    names: state.names,
    clientCounts: state.table,
    subscriber: link.subscriber,
    guestShardsMax: config.guestShardsMax,
    handler: () => delivery,
  });
  const end: Clients['end'] = (...args) => clients.end(...args);
  const base: Base = { ...options, ...state, ...events, shards, transport, peers, end };
  const inboxes = createInboxes(base);
  const access = createAccess(base);
  const announcements = createAnnouncements(base);
  const clients: Clients = createClients(base, inboxes, access, announcements);
  const clientScans = new ClientScans({
    table: state.table,
    transport,
    counts: state.counts,
    labels: state.labels,
    describe: (connection) => clients.describe(connection),
    disconnect: (connection) => end(connection, 'disconnected'),
    metrics: options.metrics,
  });
  const delivering = createDelivery(base, inboxes, announcements, clients);
  const delivery: Delivery = delivering.delivery;
  return {
    ...state,
    ...events,
    shards,
    ...inboxes,
    ...access,
    clients,
    clientScans,
    ...delivering,
  };
}

/** State of connections and shards. */
function createState({ config, incarnation, link, metrics }: EdgeOptions) {
  const { shardCount } = config;
  const redisClocks = new RedisClocks(shardCount);
  const elapsedMs: RedisClocks['elapsedMs'] = (...times) => redisClocks.elapsedMs(...times);
  return {
    names: new ShardNames(link.names, shardCount),
    table: new Connections(shardCount),
    limits: new MessageLimits(),
    labels: new ConnectionLabels(config.labelSetsMax, config.queryLabels, metrics),
    counts: new PushCounts(),
    redisClocks,
    confirmed: new ConfirmedPushes(shardCount, elapsedMs, metrics),
    reconnectLoops: new ReconnectLoops(),
    takeover: new Takeover(incarnation),
    rates: new MessageRates(shardCount, performance.now()),
    gaps: new Gaps(metrics),
    otherEdges: new OtherEdges(config.edgeId, metrics),
  };
}

/** Writers of events about connections; undefined while their subject is off. */
function createEvents(
  { config, incarnation, link, metrics }: EdgeOptions,
  { names, table }: Pick<State, 'names' | 'table'>,
) {
  const events: EventConfig = {
    ...config.events,
    onWritten: (channel, id) => lostEvents?.onWritten(channel, id),
  };
  const isConnected = (clientId: string, connection: Connection) =>
    table.has(connection) && table.clientIdOf(connection) === clientId;
  const clientBounds = boundsFor(events, 'clients');
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
  const pushBounds = boundsFor(events, 'pushes');
  const droppedPushes =
    pushBounds && new DroppedPushes({ link, names, bounds: pushBounds, metrics });
  return { events, isConnected, endedClients, lostEvents, droppedPushes };
}

/** Backlogs, confirmations, and pushes that a device cannot receive. */
function createInboxes(base: Base) {
  const { config, link, names, table, transport, counts, redisClocks, confirmed, end } = base;
  const { droppedPushes, log, metrics } = base;
  const events = boundsFor(base.events, 'pushes');
  const skippedPushes = new SkippedPushes({
    table,
    link,
    names,
    redisClocks,
    events,
    log,
    metrics,
  });
  const onOverLimit = (connection: Connection, id: string) =>
    skippedPushes.skip(connection, id, 'over_limit');
  const catchUp = new CatchUp({
    table,
    transport,
    link,
    names,
    redisClocks,
    confirmed,
    onSlow: (connection) => end(connection, 'slow'),
    counts,
    limits: base.limits,
    onOverLimit,
    onCorrupt: (connection, id) => skippedPushes.skip(connection, id, 'corrupt'),
    events,
    metrics,
  });
  const confirmations = new Confirmations(link, events, confirmed, config.shardCount, metrics);
  const slowDevices = new SlowDevices({
    sendBufferBytesMax: config.sendBufferBytesMax,
    table,
    transport,
    catchUp,
    onDropped: (connection) => {
      counts.onDropped(connection);
      droppedPushes?.add(table.shardOf(connection), table.clientIdOf(connection));
    },
    end: (connection) => end(connection, 'slow'),
  });
  return { skippedPushes, onOverLimit, catchUp, confirmations, slowDevices };
}

/** Rights of a device by its token, and their end. */
function createAccess(base: Base) {
  const { authenticator, link, names, table, transport, labels, end, metrics } = base;
  const groups = new DeviceGroups({
    link,
    names,
    clientIdOf: (connection) => table.clientIdOf(connection),
    usualClaims: authenticator === acceptAll ? ALL_GROUPS : NO_GROUPS,
    events: boundsFor(base.events, 'groups'),
    metrics,
  });
  const revocations = new Revocations(table, (connection) => end(connection, 'revoked'));
  const tokenExpiry = new TokenExpiry({
    table,
    labels,
    groups,
    transport,
    authenticator,
    isRevoked: (clientId, issuedAtMs) => revocations.isRevoked(clientId, issuedAtMs),
    end,
  });
  return { groups, revocations, tokenExpiry };
}

function createAnnouncements(base: Base): Announcements {
  const { config, incarnation, link, names, table, labels, takeover, isConnected } = base;
  const bounds = boundsFor(base.events, 'clients');
  return new Announcements({
    link,
    edgeId: config.edgeId,
    edgeIncarnation: incarnation,
    names,
    keepDevicesS: config.keepDevicesS,
    events: bounds && {
      bounds,
      describe: (connection) => ({
        protocol: table.protocolOf(connection).name,
        labels: labels.textOf(connection),
      }),
      onNotEntered: (connection, clientId) => {
        if (isConnected(clientId, connection)) takeover.onNotEntered(connection);
      },
    },
  });
}

function createClients(
  base: Base,
  { skippedPushes, onOverLimit, catchUp, confirmations, slowDevices }: Inboxes,
  { groups, tokenExpiry }: Access,
  announcements: Announcements,
): Clients {
  const { config, names, table, shards, transport, peers, takeover, limits, labels, counts } = base;
  const { reconnectLoops, endedClients, metrics } = base;
  return new Clients({
    edgeId: config.edgeId,
    inboundBytesPerSecondMax: config.inboundBytesPerSecondMax,
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
}

/** Delivery of the messages of shard channels to the clients. */
function createDelivery(
  base: Base,
  { catchUp }: Inboxes,
  announcements: Announcements,
  clients: Clients,
) {
  const { config, link, names, redisClocks, shards, rates, gaps, otherEdges, log, metrics } = base;
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
  const standing = new Standing({ names, shards, announcements, otherEdges });
  const delivery: Delivery = new Delivery({
    link,
    names,
    redisClocks,
    shards,
    clients,
    standing,
    replies: new Replies(config.edgeId, link, metrics),
    traces: new PushTraces({ link, names, tracer: base.tracer }),
    rates,
    gaps,
    lostHistory,
    log,
    metrics,
  });
  return { lostHistory, standing, delivery };
}
