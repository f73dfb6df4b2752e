/** `longline memory`: memory of each edge by part, and its cost per connection. */
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
  const isKernel = ({ name }: { name: string }) => name.startsWith('kernel/');
  const kernel = parts.filter(isKernel);
  const process = parts.filter((part) => !isKernel(part));
  const totals = [
    ['process total', process] as const,
    ...(kernel.length > 1 ? [['kernel total', kernel] as const] : []),
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
  // Without permission only the buffers can be read.
  if (kernel.length <= 1)
    lines.push('Kernel objects are not included: the edge cannot read /proc/slabinfo');
  return lines.join('\n');
}
