/** The heap of another process, garbage collected: of one that was started with `COLLECTING`. */
import { setTimeout as sleep } from 'node:timers/promises';

/** For NODE_OPTIONS. */
export const COLLECTING = `--import=${new URL('collect-on-signal.js', import.meta.url).href}`;

/** Until the heap has given its pages back. */
const COLLECTED_MS = 1_500;
/** Without the young generation: what lives there has nothing to do with idle connections. */
const HELD = [
  'nodejs_heap_space_size_used_bytes{space="old"}',
  'nodejs_heap_space_size_used_bytes{space="large_object"}',
  'nodejs_external_memory_bytes',
];

/** @param httpUrl where it has /metrics */
export async function collectedHeapBytes(pid: number, httpUrl: string): Promise<number> {
  process.kill(pid, 'SIGUSR2');
  await sleep(COLLECTED_MS);
  const metrics = await (await fetch(`${httpUrl}/metrics`)).text();
  return HELD.reduce((sum, name) => sum + metricOf(metrics, name), 0);
}

function metricOf(metrics: string, name: string): number {
  const line = metrics.split('\n').find((each) => each.startsWith(`${name} `));
  if (line === undefined) throw new Error(`there is no metric ${name}`);
  return Number(line.slice(name.length));
}
