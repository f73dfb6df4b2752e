/**
 * Memory of an edge by part: parts that add up to its resident memory, and beside them the kernel's
 * memory for its connections, which is charged to no process.
 *
 * Each part includes its size before the first connection: the difference, divided by the number of
 * connections, is the cost of one.
 */
import { readFileSync } from 'node:fs';
import type { MemoryPart } from '../../proto/gen/longline/v1/edge_session.js';
import { parseSocketBuffers, type Slab, SOCKET_CACHES } from './slab.js';

/** In bytes, except `connections`. */
export interface MemoryReadings {
  readonly connections: number;
  readonly resident: number;
  readonly heapUsed: number;
  readonly heapTotal: number;
  /** Arrays with an entry per connection. */
  readonly table: number;
  readonly slots: number;
  readonly sendBuffers: number;
  /** State of connections with TLS 1.2. */
  readonly tls12: number;
  /** Keys of connections with TLS 1.3. */
  readonly tls13: number;
  /** Empty if they cannot be read. */
  readonly slabs: ReadonlyMap<string, Slab>;
  /** Contents of /proc/net/sockstat; undefined if it cannot be read. */
  readonly sockstat: string | undefined;
}

export class MemoryAccount {
  readonly #atStart: ReadonlyMap<string, number>;

  /** To be created before the first connection. */
  constructor(readonly read: () => MemoryReadings) {
    this.#atStart = measureParts(read());
  }

  parts(): MemoryPart[] {
    return Array.from(measureParts(this.read()), ([name, bytes]) => ({
      name,
      bytes,
      bytesAtStart: this.#atStart.get(name) ?? 0,
    }));
  }
}

/** By name, in whole bytes. */
export function measureParts(readings: MemoryReadings): Map<string, number> {
  const { connections, resident, heapUsed, heapTotal, table } = readings;
  const { slots, sendBuffers, tls12, tls13 } = readings;
  const parts = new Map<string, number>();
  for (const cache of SOCKET_CACHES) {
    const slab = readings.slabs.get(cache);
    if (slab !== undefined) parts.set(`kernel/${cache}`, connections * slab.bytesPerObject);
  }
  if (readings.sockstat !== undefined) {
    const { bytes, sockets } = parseSocketBuffers(readings.sockstat);
    // An even share: the kernel does not report buffers per process.
    parts.set('kernel/buffers', sockets === 0 ? 0 : (bytes * connections) / sockets);
  }
  parts.set('slots', slots);
  parts.set('send_buffers', sendBuffers);
  parts.set('tls_1.2', tls12);
  parts.set('tls_1.3', tls13);
  parts.set('table', table);
  parts.set('heap_used', heapUsed);
  parts.set('heap_free', heapTotal - heapUsed);
  const counted = heapTotal + table + slots + sendBuffers + tls12 + tls13;
  parts.set('other', Math.max(0, resident - counted));
  for (const [name, bytes] of parts) parts.set(name, Math.round(bytes));
  return parts;
}

/** Contents of a file of /proc; undefined if it does not exist or may not be read. */
export function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
