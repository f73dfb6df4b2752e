/** Creates the parts of an edge in the order of their dependencies, and connects them. */
import { AssignmentFeed } from '../common/cluster/assignment-feed.js';
import { boundsFor } from '../common/cluster/events/event-stream.js';
import { Blocks } from './accept/blocks.js';
import { DevicePort } from './accept/device-port.js';
import { PeerAddresses } from './accept/peer-addresses.js';
import { openDeviceTransport } from './device-transport.js';
import { Goaways } from './drain/goaways.js';
import { Shutdown } from './drain/shutdown.js';
import type { EdgeOptions } from './edge-options.js';
import { createProtocols } from './protocols.js';
import { createSessions } from './sessions.js';
import { DeadEdges } from './shards/events/dead-edges.js';
import { DueEvents } from './shards/events/due-events.js';

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
  const dead = { link, edgeIncarnation: incarnation, names, shards, living };
  return {
    deadEdges: clients && new DeadEdges({ ...dead, bounds: clients }),
    dueEvents: due && new DueEvents({ link, names, shards, bounds: due, metrics }),
  };
}
