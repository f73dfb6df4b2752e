/**
 * Writes to many connections. Where a protocol has the same bytes for every connection, they are
 * encoded once and written with one call to the transport.
 */
import type { PushOutcome } from '../../common/cluster/push-outcomes.js';
import {
  type Connection,
  type Transport,
  WRITE_RESULTS,
} from '../../common/transport/transport.js';
import type { Message, Protocol } from '../protocol/protocol.js';
import type { BroadcastCounts, BroadcastPush, WriteCounts } from '../shards/targets.js';
import type { ConnectionLabels } from './connection-labels.js';
import type { Connections } from './connections.js';
import type { MessageLimits } from './message-limits.js';

export interface ManyWriter {
  readonly table: Pick<Connections, 'protocolOf'>;
  readonly transport: Pick<Transport, 'writeMany'>;
  /** The send buffer of a connection is full. Returns whether the connection was ended. */
  readonly onSlow: (connection: Connection) => boolean;
  readonly onWritten?: (connection: Connection) => unknown;
}

/**
 * @param encode returns undefined for a protocol that has no bytes to write
 * @param limits undefined for bytes that are no message
 */
export function writeMany(
  writer: ManyWriter,
  connections: Iterable<Connection>,
  encode: (protocol: Protocol, connection: Connection) => Buffer | undefined,
  limits?: MessageLimits,
): WriteCounts {
  const counts = { written: 0, slow: 0, dropped: 0 };
  const byProtocol = new Map<Protocol, Connection[]>();
  // A copy, because ending a slow connection modifies the connection table.
  for (const connection of [...connections]) {
    const protocol = writer.table.protocolOf(connection);
    const isLimited = limits?.find(connection) !== undefined;
    if (!protocol.isEncodingShared || isLimited) {
      const bytes = encode(protocol, connection);
      const isAllowed = bytes === undefined || limits?.allows(connection, protocol, bytes);
      if (isAllowed !== false) writeBytes(writer, [connection], bytes, counts);
      continue;
    }
    const others = byProtocol.get(protocol);
    if (others === undefined) byProtocol.set(protocol, [connection]);
    else others.push(connection);
  }
  for (const [protocol, all] of byProtocol) {
    writeBytes(writer, all, encode(protocol, all[0]!), counts);
  }
  return counts;
}

/**
 * Writes a live-only push to connections, none of them twice; undefined: the client has none.
 * Returns an outcome for each.
 */
export function writeSame(
  writer: Omit<ManyWriter, 'onSlow'>,
  found: readonly (Connection | undefined)[],
  message: Message,
  onFull: (connection: Connection) => PushOutcome,
  limits: MessageLimits,
): PushOutcome[] {
  const outcomes = found.map((): PushOutcome => 'absent');
  const indexes = new Map<Connection, number>();
  for (const [i, connection] of found.entries()) {
    if (connection !== undefined) indexes.set(connection, i);
  }
  const note = (connection: Connection, outcome: PushOutcome) => {
    outcomes[indexes.get(connection)!] = outcome;
    return outcome === 'slow';
  };
  const noting = {
    ...writer,
    onSlow: (connection: Connection) => note(connection, onFull(connection)),
    onWritten: (connection: Connection) => note(connection, 'written'),
  };
  const encode = (protocol: Protocol, connection: Connection) =>
    protocol.encodePush(connection, message);
  writeMany(noting, indexes.keys(), encode, limits);
  return outcomes;
}

/** Writes a live-only push to those of the connections that its selector selects. */
export function writeSelected(
  writer: ManyWriter,
  connections: readonly Connection[],
  { payload, contentType, selector }: BroadcastPush,
  labels: Pick<ConnectionLabels, 'select'>,
  limits: MessageLimits,
): BroadcastCounts | undefined {
  const selected = labels.select(selector, connections);
  if (selected === undefined) return undefined;
  const { notSelected, labelsUnknown } = selected;
  const message = { id: '', payload, contentType, ttlMs: 0 };
  const encode = (protocol: Protocol, connection: Connection) =>
    protocol.encodePush(connection, message);
  const counts = writeMany(writer, selected.connections, encode, limits);
  return { ...counts, notSelected, labelsUnknown };
}

function writeBytes(
  { transport, onSlow, onWritten }: ManyWriter,
  connections: readonly Connection[],
  bytes: Buffer | undefined,
  counts: WriteCounts,
): void {
  if (bytes === undefined) return;
  const results = new Uint8Array(connections.length);
  transport.writeMany(Float64Array.from(connections), connections.length, bytes, results);
  for (const [i, connection] of connections.entries()) {
    const result = WRITE_RESULTS[results[i]!];
    if (result === 'accepted') {
      counts.written++;
      onWritten?.(connection);
    }
    if (result !== 'full') continue;
    if (onSlow(connection)) counts.slow++;
    else counts.dropped++;
  }
}
