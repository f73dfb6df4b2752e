/** A cluster with a single edge and no router, for benches of the edge alone. */
import type { TransportName } from '../../../common/transport/open-transport.js';
import { COLLECT_ON_SIGNAL, collectedHeapBytes } from '../memory/collected-heap.js';
import { startBenchCluster } from './bench-cluster.js';
import { devicePort } from './edge-ports.js';

export interface OneEdge {
  readonly pid: number;
  /** Port for devices. */
  readonly port: number;
  /** Size of the JavaScript heap after a garbage collection, in bytes. */
  heapBytes(): Promise<number>;
  stop(): Promise<void>;
}

/** @param env additional settings of the edge */
export async function startOneEdge(
  transport: TransportName,
  env: NodeJS.ProcessEnv = {},
): Promise<OneEdge> {
  const { cluster, stop } = await startBenchCluster({
    edges: 1,
    routers: 0,
    env: {
      LONGLINE_TRANSPORT: transport,
      // The benches measure what the edge is capable of, not its configured limit.
      LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX: '0',
      NODE_OPTIONS: COLLECT_ON_SIGNAL,
      ...env,
    },
  });
  const pid = cluster.pid('edge-1')!;
  return {
    pid,
    port: devicePort(cluster, 'edge-1'),
    heapBytes: () => collectedHeapBytes(pid, cluster.httpUrl('edge-1')),
    stop,
  };
}
