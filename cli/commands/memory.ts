/** `longline memory`: what a connection consists of, per edge. */
import { controlApi, type MemoryView } from '../control/api.js';
import type { ControlOptions } from './status.js';
import { table } from './table.js';

/**
 * @param edgeId undefined: every edge that is alive
 * @throws Failure when control rejects or cannot be reached
 */
export async function memory(edgeId: string | undefined, options: ControlOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  const edgeIds =
    edgeId !== undefined
      ? [edgeId]
      : (await api.edges()).filter(({ state }) => state === 'alive').map(({ id }) => id);
  const edges = await Promise.all(edgeIds.map((id) => api.memory(id)));
  if (options.json) console.log(JSON.stringify({ edges }));
  else console.log(edges.map(describe).join('\n\n'));
}

function describe({ edgeId, connections, parts }: MemoryView): string {
  const rows = parts.map(({ name, bytes, bytesPerConnection, meaning }) => [
    name,
    bytes,
    bytesPerConnection,
    meaning,
  ]);
  const isKernels = ({ name }: { name: string }) => name.startsWith('kernel/');
  const kernel = parts.filter(isKernels);
  const process = parts.filter((part) => !isKernels(part));
  const totals = [
    ['the process', process] as const,
    ...(kernel.length > 1 ? [['the kernel', kernel] as const] : []),
  ].map(([name, of]) => [
    name,
    of.reduce((sum, { bytes }) => sum + bytes, 0),
    Math.round(of.reduce((sum, part) => sum + part.bytesPerConnection, 0)),
    '',
  ]);
  const lines = [
    `${edgeId}: ${connections} connections`,
    table(['part', 'bytes', 'per connection', ''], [...rows, ...totals]),
  ];
  // Buffers alone can be read by everybody.
  if (kernel.length <= 1)
    lines.push('the kernel’s objects are not shown: the edge may not read /proc/slabinfo');
  return lines.join('\n');
}
