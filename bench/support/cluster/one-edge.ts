/** A cluster with a single edge and no router, for benches of the edge alone. */
import type { TransportName } from '../../../common/transport/open-transport.js';
import { COLLECT_ON_SIGNAL, collectedHeapBytes } from '../memory/collected-heap.js';
import type { Pids } from '../processes/cpu.js';
import { pidsOf, startBenchCluster } from './bench-cluster.js';
import { devicePort } from './edge-ports.js';

export interface OneEdge {
  readonly pid: number;
  /** Redis and all roles, by name. */
  readonly pids: Pids;
  /** Port for devices. */
  readonly port: number;
  /** Size of the JavaScript heap after a garbage collection, in bytes. */
  heapBytes(): Promise<number>;
  stop(): Promise<void>;
}

/**
 * @param env additional settings of the edge
 * @param pace rate of admission: most benches measure what the edge is capable of
 */
export async function startOneEdge(
  transport: TransportName,
  env: NodeJS.ProcessEnv = {},
  pace: 'off' | 'default' = 'off',
): Promise<OneEdge> {
  const { cluster, redis, stop } = await startBenchCluster({
    edges: 1,
    routers: 0,
    env: {
      LONGLINE_TRANSPORT: transport,
      ...(pace === 'off' && { LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX: '0' }),
      NODE_OPTIONS: COLLECT_ON_SIGNAL,
      ...env,
    },
  });
  const pid = cluster.pid('edge-1')!;
  return {
    pid,
    pids: pidsOf(cluster, redis),
    port: devicePort(cluster, 'edge-1'),
    heapBytes: () => collectedHeapBytes(pid, cluster.httpUrl('edge-1')),
    stop,
  };
}
