/**
 * Where the memory of an edge is: in parts that add up to its resident memory, and beside them what
 * the kernel keeps for its connections, which no process is charged with.
 *
 * Each part is told with what it was before the first connection, so that the difference, over the
 * connections, is what one of them costs.
 */
import { readFileSync } from 'node:fs';
import type { MemoryPart } from '../../proto/gen/longline/v1/edge_session.js';
import { parseSocketBuffers, type Slab, SOCKET_CACHES } from './slab.js';

/** In bytes. */
export interface MemoryReadings {
  readonly connections: number;
  readonly resident: number;
  readonly heapUsed: number;
  readonly heapTotal: number;
  /** Arrays with an entry per connection. */
  readonly table: number;
  readonly slots: number;
  readonly sendBuffers: number;
  /** Empty where they cannot be read. */
  readonly slabs: ReadonlyMap<string, Slab>;
  /** Contents of /proc/net/sockstat; undefined where it cannot be read. */
  readonly sockstat: string | undefined;
}

export class MemoryAccount {
  readonly #atStart: ReadonlyMap<string, number>;

  /** To be made before the first connection. */
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
  const { connections, resident, heapUsed, heapTotal, table, slots, sendBuffers } = readings;
  const parts = new Map<string, number>();
  for (const cache of SOCKET_CACHES) {
    const slab = readings.slabs.get(cache);
    if (slab !== undefined) parts.set(`kernel/${cache}`, connections * slab.bytesPerObject);
  }
  if (readings.sockstat !== undefined) {
    const { bytes, sockets } = parseSocketBuffers(readings.sockstat);
    // The kernel does not say whose they are.
    parts.set('kernel/buffers', sockets === 0 ? 0 : (bytes * connections) / sockets);
  }
  parts.set('slots', slots);
  parts.set('send_buffers', sendBuffers);
  parts.set('table', table);
  parts.set('heap_used', heapUsed);
  parts.set('heap_free', heapTotal - heapUsed);
  parts.set('other', Math.max(0, resident - heapTotal - table - slots - sendBuffers));
  for (const [name, bytes] of parts) parts.set(name, Math.round(bytes));
  return parts;
}

/** What the system says of itself; undefined where it does not, or not to us. */
export function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
