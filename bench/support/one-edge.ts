/** A cluster of one edge on this machine, as the benches of an edge use it. */
import { LocalCluster } from '../../cli/local/cluster.js';
import { startRedis } from '../../cli/local/redis.js';
import type { TransportName } from '../../common/transport/open-transport.js';
import { COLLECTING, collectedHeapBytes } from '../memory/collected-heap.js';

const READY_DEADLINE_MS = 30_000;
export interface OneEdge {
  readonly pid: number;
  /** For devices. */
  readonly port: number;
  /** Of JavaScript, garbage collected. */
  heapBytes(): Promise<number>;
  stop(): Promise<void>;
}

/** @param env more settings of the edge */
export async function startOneEdge(
  transport: TransportName,
  env: NodeJS.ProcessEnv = {},
): Promise<OneEdge> {
  const redis = await startRedis({ say: console.error });
  const cluster = await LocalCluster.start({
    redisUrl: redis.url,
    edges: 1,
    routers: 0,
    ports: 'free',
    restart: false,
    env: {
      LONGLINE_LOG_LEVEL: 'error',
      LONGLINE_TRANSPORT: transport,
      // What an edge can do is asked, not what it allows itself.
      LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX: '0',
      NODE_OPTIONS: COLLECTING,
      ...env,
    },
    onOutput: (name, line) => console.error(`${name}: ${line}`),
  });
  await cluster.waitUntilReady(READY_DEADLINE_MS);
  const pid = cluster.pid('edge-1')!;
  return {
    pid,
    port: Number(new URL(cluster.edgeUrl('edge-1')).port),
    heapBytes: () => collectedHeapBytes(pid, cluster.httpUrl('edge-1')),
    async stop() {
      await cluster.stop();
      await redis.stop();
    },
  };
}
