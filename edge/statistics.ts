/** Statistics of an edge: its gauges, its memory account, and its reports to control. */
import type { Metrics } from '../common/process/metrics.js';
import type { Readiness } from '../common/process/readiness.js';
import type { Stats } from '../proto/gen/longline/v1/edge_session.js';
import type { Edge } from './edge.js';
import type { EventLoopLag } from './report/load.js';
import { MemoryAccount, readProc } from './report/memory.js';
import { parseSlabs } from './report/slab.js';

/** Bounds of the lists in one report. */
const REPORTED_LOOPS_MAX = 50;
const REPORTED_SKIPS_MAX = 10;
const REPORTED_REASONS_MAX = 10;

/** Whether the edge can serve, as it reports that. */
export interface EdgeHealth {
  readonly readiness: Readiness;
  /** Masters through which no probe returns. */
  readonly redisUnusable: readonly string[];
  /** Masters at which no router uses the same server. */
  readonly redisDeserted: readonly string[];
  readonly routersSeen: boolean;
  /** Unused share of the memory, 0 to 1. */
  readonly memoryHeadroom: number;
}

export function registerGauges({ table, shards, reconnectLoops }: Edge, metrics: Metrics): void {
  metrics.gauge(
    'longline_edge_connections',
    'Connections with a registered client',
    () => table.count,
  );
  metrics.gauge('longline_edge_guests', 'Clients whose shard another edge owns', () =>
    shards.guestCount(),
  );
  metrics.gauge(
    'longline_edge_shards_not_owned',
    'Subscribed shards of other edges, for guests or moves',
    () => shards.foreignCount,
  );
  metrics.gauge(
    'longline_edge_reconnect_loops',
    'Clients whose connections ended at least five times in the last minute, of the last 1024',
    () => reconnectLoops.read(performance.now()).length,
  );
  metrics.gauge(
    'longline_edge_shards_owned',
    'Shards that this edge owns',
    () => shards.ownedCount,
  );
}

/** To be called before the first connection. */
export function openMemoryAccount(edge: Edge, metrics: Metrics): MemoryAccount {
  const { table, labels, counts, mqttConnections, peers, transport } = edge;
  // Read once: it takes milliseconds, and the kernel does not change the size of its objects.
  const slabs = parseSlabs(readProc('/proc/slabinfo') ?? '');
  const memory = new MemoryAccount(() => {
    const { rss, heapUsed, heapTotal } = process.memoryUsage();
    return {
      connections: table.count,
      resident: rss,
      heapUsed,
      heapTotal,
      table: table.bytes + labels.bytes + counts.bytes + mqttConnections.bytes + peers.bytes,
      ...transport.memory(),
      slabs,
      sockstat: readProc('/proc/net/sockstat'),
    };
  });
  metrics.gauges(
    'longline_edge_memory_bytes',
    'Bytes of memory of the edge and its connections, by part',
    'part',
    () => memory.parts().map(({ name, bytes }) => [name, bytes]),
  );
  return memory;
}

export function measureStats(
  edge: Edge,
  memory: MemoryAccount,
  lag: EventLoopLag,
  health: EdgeHealth,
): Stats {
  const { table, shards, rates, feed, shutdown, port, goaways } = edge;
  const { reconnectLoops, skippedPushes, confirmed, gaps } = edge;
  const nowMs = performance.now();
  const perSecond = rates.read(nowMs);
  const { clients = 0, clientIds = [] } = goaways.waitingFor ?? {};
  const { shards: loaded, connections } = table.loads();
  const messagesPer1000Seconds = loaded.map((shard) => Math.round(perSecond[shard]! * 1_000));
  return {
    measuredUnder: feed.position,
    loads: { shards: loaded, connections, messagesPer1000Seconds },
    connections: table.count,
    connectionsOpened: table.addedCount,
    confirmed: confirmed.totals.read(),
    confirmationLatencies: confirmed.latencies(),
    gaps: gaps.countRecent(nowMs),
    guests: shards.guestCount(),
    shardsSubscribed: shards.confirmedCount(),
    ready: health.readiness.notReady.length === 0,
    memory: memory.parts(),
    acquired: shards.acquired(),
    released: shards.released(),
    shuttingDown: shutdown.isStarted,
    handshakesPending: port.pendingCount,
    eventLoopLagMs: lag.read(),
    memoryHeadroom: health.memoryHeadroom,
    goawaysPending: goaways.pendingCount,
    clientsReturned: clients,
    clientsReturnedIds: clientIds,
    reconnectLoops: reconnectLoops.read(nowMs).slice(0, REPORTED_LOOPS_MAX),
    pushesSkipped: skippedPushes.take(REPORTED_SKIPS_MAX),
    redisUnusable: [...health.redisUnusable],
    redisDeserted: [...health.redisDeserted],
    routersSeen: health.routersSeen,
    reasons: [...health.readiness.notReady, ...health.readiness.degraded].slice(
      0,
      REPORTED_REASONS_MAX,
    ),
  };
}
