/** A cluster of one edge on this machine, as the benches of an edge use it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { LocalCluster } from '../cli/local-cluster.js';
import { startRedis } from '../cli/local-redis.js';
import type { TransportName } from '../common/transport/open-transport.js';

const READY_DEADLINE_MS = 30_000;
/** Until the heap has given its pages back. */
const COLLECTED_MS = 1_500;
/** Without the young generation: what lives there has nothing to do with idle connections. */
const HELD = [
  'nodejs_heap_space_size_used_bytes{space="old"}',
  'nodejs_heap_space_size_used_bytes{space="large_object"}',
  'nodejs_external_memory_bytes',
];
const COLLECTOR = new URL('collect-on-signal.js', import.meta.url).href;

export interface OneEdge {
  readonly pid: number;
  /** For devices. */
  readonly port: number;
  /** Of JavaScript, garbage collected. */
  heapBytes(): Promise<number>;
  stop(): Promise<void>;
}

export async function startOneEdge(transport: TransportName): Promise<OneEdge> {
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
      LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX: '1000000',
      NODE_OPTIONS: `--import=${COLLECTOR}`,
    },
    onOutput: (name, line) => console.error(`${name}: ${line}`),
  });
  await cluster.waitUntilReady(READY_DEADLINE_MS);
  const pid = cluster.pid('edge-1')!;
  return {
    pid,
    port: Number(new URL(cluster.edgeUrl('edge-1')).port),
    async heapBytes() {
      process.kill(pid, 'SIGUSR2');
      await sleep(COLLECTED_MS);
      const metrics = await (await fetch(`${cluster.httpUrl('edge-1')}/metrics`)).text();
      return HELD.reduce((sum, name) => sum + metricOf(metrics, name), 0);
    },
    async stop() {
      await cluster.stop();
      await redis.stop();
    },
  };
}

function metricOf(metrics: string, name: string): number {
  const line = metrics.split('\n').find((each) => each.startsWith(`${name} `));
  if (line === undefined) throw new Error(`there is no metric ${name}`);
  return Number(line.slice(name.length));
}
