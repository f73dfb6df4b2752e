/**
 * Scans the connections of this edge for operators: lists those that match a filter, finds the
 * slowest, or disconnects them. One scan reads a bounded number of slots, so that it delays no push
 * for long; control continues where it ended. Nothing is kept between scans.
 */
import type { Counter } from 'prom-client';
import type { Metrics } from '../../../common/process/metrics.js';
import { type Connection, slotOf, type Transport } from '../../../common/transport/transport.js';
import { userOf } from '../../../common/wire/client-id.js';
import {
  type ClientFilter,
  type ConnectedClient,
  SlowBy,
} from '../../../proto/gen/longline/v1/clients.js';
import type { ClientScan, ClientScanResult } from '../../../proto/gen/longline/v1/edge_session.js';
import type { Presence } from '../../../proto/gen/longline/v1/push.js';
import type { ConnectionLabels } from '../connection-labels.js';
import type { Connections } from '../connections.js';
import type { PushCounts } from '../slow/push-counts.js';

/** Maximum slots that one scan reads. */
export const SCAN_SLOTS_MAX = 16_384;
/** Maximum clients in one result. */
const CLIENTS_MAX = 1_000;

export interface ClientScansOptions {
  readonly table: Connections;
  readonly transport: Pick<Transport, 'bufferedBytes'>;
  readonly counts: PushCounts;
  readonly labels: Pick<ConnectionLabels, 'select'>;
  readonly describe: (connection: Connection) => Presence;
  readonly disconnect: (connection: Connection) => void;
  readonly metrics: Metrics;
}

export class ClientScans {
  readonly #disconnected: Counter;

  constructor(readonly options: ClientScansOptions) {
    this.#disconnected = options.metrics.counter(
      'longline_edge_clients_disconnected_total',
      'Clients that operators disconnected by a filter',
    );
  }

  scan(scan: ClientScan): ClientScanResult {
    const { scanId, filter, fromSlot, slowBy, disconnect } = scan;
    const { table, describe } = this.options;
    const clientsMax = Math.min(CLIENTS_MAX, scan.clientsMax);
    const untilSlot = fromSlot + SCAN_SLOTS_MAX;
    const matching = this.#matching(filter, fromSlot, untilSlot);
    const isBySlot = slowBy === SlowBy.SLOW_BY_UNSPECIFIED;
    const found = isBySlot
      ? matching.slice(0, clientsMax)
      : this.#slowest(matching, slowBy, clientsMax);
    const isCut = isBySlot && matching.length > clientsMax;
    const end = untilSlot < table.slotCount ? untilSlot : 0;
    const nextSlot = isCut ? slotOf(matching[clientsMax]!) : end;
    if (!disconnect) {
      const clients = found.map((connection) => this.#clientOf(connection, describe(connection)));
      return { scanId, clients, nextSlot, disconnected: 0 };
    }
    for (const connection of found) this.options.disconnect(connection);
    this.#disconnected.inc(found.length);
    return { scanId, clients: [], nextSlot, disconnected: found.length };
  }

  /** By slot. None for a selector that cannot be parsed, which control rejects. */
  #matching(filter: ClientFilter | undefined, fromSlot: number, untilSlot: number): Connection[] {
    const { table, labels } = this.options;
    const { shard, clientId = '', user = '' } = filter ?? {};
    const { protocol = '', selector = '', olderThanMs = 0 } = filter ?? {};
    const connectedByMs = performance.now() - olderThanMs;
    const matching: Connection[] = [];
    for (const connection of table.acceptedFrom(fromSlot, untilSlot)) {
      if (clientId !== '' && table.clientIdOf(connection) !== clientId) continue;
      if (shard !== undefined && table.shardOf(connection) !== shard) continue;
      if (table.connectedAtMs(connection) > connectedByMs) continue;
      if (protocol !== '' && table.protocolOf(connection).name !== protocol) continue;
      if (user !== '' && userOf(table.clientIdOf(connection)) !== user) continue;
      matching.push(connection);
    }
    return [...(labels.select(selector, matching)?.connections ?? [])];
  }

  /** The connections with the highest values, the highest first. Those with 0 are left out. */
  #slowest(connections: readonly Connection[], by: SlowBy, clientsMax: number): Connection[] {
    const measured = connections.map((connection) => ({
      connection,
      value: this.#measure(connection, by),
    }));
    return measured
      .filter(({ value }) => value > 0)
      .sort((a, b) => b.value - a.value)
      .slice(0, clientsMax)
      .map(({ connection }) => connection);
  }

  #measure(connection: Connection, by: SlowBy): number {
    const { transport, counts } = this.options;
    switch (by) {
      case SlowBy.SLOW_BY_BYTES:
        return transport.bufferedBytes(connection);
      case SlowBy.SLOW_BY_UNCONFIRMED:
        return counts.unconfirmed(connection);
      case SlowBy.SLOW_BY_DROPS:
        return counts.dropped(connection);
      default:
        return 0;
    }
  }

  #clientOf(connection: Connection, presence: Presence): ConnectedClient {
    const { transport, counts } = this.options;
    return {
      connection: presence,
      bytesWaiting: transport.bufferedBytes(connection),
      unconfirmed: counts.unconfirmed(connection),
      dropped: counts.dropped(connection),
      slot: slotOf(connection),
    };
  }
}
