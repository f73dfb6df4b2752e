/**
 * Writes to many connections. Where a protocol has the same bytes for every connection, they are
 * encoded once and written with one call to the transport.
 */
import {
  type Connection,
  type Transport,
  WRITE_RESULTS,
} from '../../common/transport/transport.js';
import type { Protocol } from '../protocol/protocol.js';
import type { BroadcastCounts } from '../shards/delivery.js';
import type { Connections } from './connections.js';
import type { MessageLimits } from './message-limits.js';

export interface ManyWriter {
  readonly table: Pick<Connections, 'protocolOf'>;
  readonly transport: Pick<Transport, 'writeMany'>;
  /** Ends a connection whose send buffer is full. */
  readonly onSlow: (connection: Connection) => void;
  readonly onWritten?: (connection: Connection) => void;
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
): BroadcastCounts {
  const counts = { written: 0, slow: 0 };
  const byProtocol = new Map<Protocol, Connection[]>();
  // A copy, because ending a slow connection modifies the connection table.
  for (const connection of [...connections]) {
    const protocol = writer.table.protocolOf(connection);
    const isLimited = limits?.find(connection) !== undefined;
    if (!protocol.isEncodingShared || isLimited) {
      const bytes = encode(protocol, connection);
      const isAllowed = bytes === undefined || limits?.allows(connection, protocol, bytes);
      if (isAllowed !== false) writeSame(writer, [connection], bytes, counts);
      continue;
    }
    const others = byProtocol.get(protocol);
    if (others === undefined) byProtocol.set(protocol, [connection]);
    else others.push(connection);
  }
  for (const [protocol, all] of byProtocol) {
    writeSame(writer, all, encode(protocol, all[0]!), counts);
  }
  return counts;
}

function writeSame(
  { transport, onSlow, onWritten }: ManyWriter,
  connections: readonly Connection[],
  bytes: Buffer | undefined,
  counts: BroadcastCounts,
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
    onSlow(connection);
    counts.slow++;
  }
}
