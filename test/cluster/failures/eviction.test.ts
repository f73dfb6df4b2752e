/**
 * Goal: stored pushes that Redis evicts or loses are not lost silently. Each device either receives
 * its push or `reset`, whether it was connected meanwhile or comes later, with a cursor or without
 * one. Method: a cluster on a real Redis with too little memory and an evicting policy, accepted by
 * name.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { packageRoot } from '../../../common/process/package-root.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';

const PAYLOAD = 'x'.repeat(10_000);
const TTL_MS = 60 * 60 * 1_000;
const PUSHES = 1_500;
const CONNECTED = 100;
const PARALLEL = 50;

let running: RunningCluster;
let redis: Redis;

beforeAll(async () => {
  const env = { LONGLINE_SHARD_COUNT: '256', LONGLINE_REDIS_EVICTION_ACCEPTED: 'volatile-lru' };
  running = await RunningCluster.start({ edges: 2, env });
  redis = new Redis(running.redis.url);
});

afterAll(async () => {
  redis?.disconnect();
  await running?.stop();
});

async function inParallel<Item>(items: readonly Item[], run: (item: Item) => Promise<void>) {
  const queue = [...items];
  const workers = Array.from({ length: PARALLEL }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await run(item);
  });
  await Promise.all(workers);
}

const names = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, i) => `${prefix}-${i}`);

function connect(clientId: string, cursor = ''): Promise<SseClient> {
  const headers: Record<string, string> = cursor === '' ? {} : { 'last-event-id': cursor };
  return SseClient.open(running.connectUrl(clientId), { headers });
}

const has = (client: SseClient, name: string) => client.events.some(({ event }) => event === name);
const isTold = (client: SseClient) => has(client, 'message') || has(client, 'reset');

async function sumOfEdges(metric: string): Promise<number> {
  const values = await Promise.all(
    ['edge-1', 'edge-2'].map((edge) => running.metric(edge, metric)),
  );
  return values.reduce((sum, value) => sum + value, 0);
}

test('no role starts on an evicting policy that is not accepted by name', async () => {
  await redis.config('SET', 'maxmemory-policy', 'volatile-lru');
  const child = spawn('node', [join(packageRoot, 'dist/edge/main.js')], {
    env: {
      PATH: process.env.PATH,
      LONGLINE_AUTH: 'none',
      LONGLINE_EDGE_ID: 'edge-9',
      // The default port may be in use.
      LONGLINE_EDGE_ADMIN_PORT: '0',
      LONGLINE_REDIS_URL: running.redis.url,
      LONGLINE_CONTROL_ADDRESS: '127.0.0.1:1',
    },
  });
  const [errors, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  expect(errors).toMatch(/maxmemory-policy is volatile-lru.*LONGLINE_REDIS_EVICTION_ACCEPTED/);
  expect(code).toBe(78);
});

test('each device whose push was evicted receives reset', async () => {
  const connected = names('connected', CONNECTED);
  const clients: SseClient[] = [];
  await inParallel(connected, async (id) => void clients.push(await connect(id)));
  await redis.config('SET', 'maxmemory', '6mb');
  const away = names('away', PUSHES - CONNECTED);
  const verdicts = new Map<string, number>();
  await inParallel([...connected, ...away], async (id) => {
    const { verdict } = await running.push.push(id, PAYLOAD, { ttlMs: TTL_MS });
    verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
  });
  expect((verdicts.get('STORED') ?? 0) + (verdicts.get('WRITTEN') ?? 0)).toBe(PUSHES);
  let resets = 0;
  // At once: most connect before any process has noticed the evictions.
  await inParallel(away, async (id) => {
    const client = await connect(id);
    await eventually(() => isTold(client));
    if (has(client, 'reset')) resets++;
    client.close();
  });
  expect(resets).toBeGreaterThan(PUSHES / 2);
  // Connected devices have received their pushes. Those whose history is gone learn that it is.
  expect(clients.every((client) => has(client, 'message'))).toBe(true);
  const evicted = Number((await redis.info('stats')).match(/evicted_keys:(\d+)/)![1]);
  expect(evicted).toBeGreaterThan(PUSHES / 2);
  await eventually(async () => {
    const lost = await unknownToRedis(clients);
    return lost.every((client) => has(client, 'reset'));
  });
  for (const client of clients) client.close();
  expect(await doctor()).toMatchObject([
    { what: 'Redis when its memory is full', grade: 'fail', value: '6 MiB, volatile-lru' },
    { what: 'keys that Redis evicted', grade: 'fail' },
  ]);
  expect(await running.metric('edge-1', 'longline_redis_evicted_keys_total')).toBeGreaterThan(0);
  expect(await sumOfEdges('longline_edge_history_losses_total')).toBeGreaterThan(0);
  expect(await sumOfEdges('longline_edge_resets_total')).toBeGreaterThan(resets);
});

/** The findings of `longline doctor` about memory of Redis. */
async function doctor(): Promise<{ what: string }[]> {
  const main = join(packageRoot, 'dist/cli/main.js');
  const child = spawn('node', [main, 'doctor', '--json', '--redis', running.redis.url]);
  const { findings } = JSON.parse(await text(child.stdout));
  return findings.filter(({ what }: { what: string }) => /memory is full|evicted/.test(what));
}

/** The connected devices of which Redis has nothing any more. */
async function unknownToRedis(clients: SseClient[]): Promise<SseClient[]> {
  const shards = await running.shards();
  const found: SseClient[] = [];
  for (const client of clients) {
    const clientId = new URL(client.url).searchParams.get('clientId')!;
    const { channel } = shards[(await running.lookUp(clientId)).shard]!;
    if ((await redis.exists(`${channel}:ack:${clientId}`)) === 0) found.push(client);
  }
  return found;
}

test('a device that comes later receives reset once, and resumes after it', async () => {
  await redis.config('SET', 'maxmemory', '0');
  const first = await connect('newcomer');
  await eventually(() => has(first, 'reset'));
  first.close();
  const { id } = first.events.find(({ event }) => event === 'reset')!;
  await running.push.push('newcomer', 'later', { ttlMs: TTL_MS });
  const second = await connect('newcomer', id);
  await eventually(() => has(second, 'message'));
  expect(second.events.map(({ event, data }) => `${event} ${data}`)).toEqual(['message later']);
  second.close();
});

test('after FLUSHALL, connected devices and those that come later receive reset', async () => {
  const connected = await connect('flushed');
  await running.push.push('flushed', 'one', { ttlMs: TTL_MS });
  await eventually(() => has(connected, 'message'));
  await eventually(async () => (await sumOfEdges('longline_edge_history_losses_pending')) === 0);
  connected.events.length = 0;
  await running.push.push('flushed-away', 'two', { ttlMs: TTL_MS });
  // Edges read the counter of each shard every two seconds; a busy machine takes longer.
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  await redis.flushall();
  await eventually(() => has(connected, 'reset'));
  connected.close();
  await eventually(async () => {
    const later = await connect('flushed-away');
    await eventually(() => has(later, 'reset'), 500).finally(() => later.close());
    return true;
  });
});
