import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, test } from '@jest/globals';
import { controlApi } from '../../../cli/control/api.js';
import { LocalCluster } from '../../../cli/local/cluster.js';
import { startRedis } from '../../../cli/local/redis.js';

test('lists every taken port with its role before it starts any process', async () => {
  const listeners = await Promise.all([7101, 7011].map(occupy));
  const output: string[] = [];
  const start = LocalCluster.start({
    redisUrl: 'redis://127.0.0.1:1',
    edges: 2,
    ports: 'default',
    restart: false,
    onOutput: (_, line) => output.push(line),
  });
  await expect(start).rejects.toThrow(/7101 \(router, grpc\).*7011 \(edge-2, devices\)/);
  expect(output).toEqual([]);
  for (const listener of listeners) listener.close();
});

test('gets ready, restarts a killed edge in place, adds an edge, and stops', async () => {
  const redis = await startRedis();
  const cluster = await LocalCluster.start({
    redisUrl: redis.url,
    edges: 2,
    ports: 'free',
    restart: true,
  });
  try {
    await cluster.waitUntilReady(60_000);
    const url = cluster.edgeUrl('edge-1');
    const before = cluster.pid('edge-1');
    await cluster.kill('edge-1');
    expect(await cluster.addEdge()).toBe('edge-3');
    await cluster.waitUntilReady(60_000);
    expect(cluster.pid('edge-1')).not.toBe(before);
    expect(cluster.edgeUrl('edge-1')).toBe(url);
    const edges = await controlApi(cluster.controlUrl).edges();
    expect(edges.map(({ id }) => id).sort()).toEqual(['edge-1', 'edge-2', 'edge-3']);
  } finally {
    await cluster.stop();
    await redis.stop();
  }
  expect(cluster.names.filter((name) => cluster.pid(name) !== undefined)).toEqual([]);
});

/** Listens on a port, unless another process does: then the port is taken as well. */
async function occupy(port: number) {
  const server = createServer().listen(port, '127.0.0.1');
  await Promise.race([once(server, 'listening'), once(server, 'error').catch(() => {})]);
  return server;
}
