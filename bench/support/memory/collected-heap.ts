/** Heap size of another process after a garbage collection. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readMetrics } from '../cluster/metrics.js';

const COLLECTOR = new URL('collect-on-signal.js', import.meta.url);
/** NODE_OPTIONS of a process whose heap is to be measured. */
export const COLLECT_ON_SIGNAL = `--import=${COLLECTOR.href}`;

/** Time in which V8 returns the freed pages. */
const COLLECTION_MS = 1_500;
/** Without the young generation: its contents have nothing to do with idle connections. */
const RETAINED = [
  'nodejs_heap_space_size_used_bytes{space="old"}',
  'nodejs_heap_space_size_used_bytes{space="large_object"}',
  'nodejs_external_memory_bytes',
];

/**
 * @param pid a process that was started with COLLECT_ON_SIGNAL
 * @param httpUrl address of its `/metrics`
 */
export async function collectedHeapBytes(pid: number, httpUrl: string): Promise<number> {
  process.kill(pid, 'SIGUSR2');
  await sleep(COLLECTION_MS);
  const metric = await readMetrics(httpUrl);
  return RETAINED.reduce((total, series) => total + metric(series), 0);
}
