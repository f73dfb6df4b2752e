/** A real master with a replica and three Sentinels, on loopback. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { freePort } from '../../../cli/local/ports.js';
import { shardTags } from '../../../common/cluster/shard.js';
import { Metrics } from '../../../common/process/metrics.js';
import { endpointOf } from '../../../common/redis/connection.js';
import { openRedis, type RedisLink } from '../../../common/redis/redis-link.js';
import { findMaster } from '../../../common/redis/sentinel.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { eventually } from '../../support/eventually.js';

const MASTER = 'push';
const PASSWORD = 'of-this-test';
const log = pino({ level: 'silent' });

let master: TestRedis;
let replica: TestRedis;
let sentinelPorts: number[];
let link: RedisLink;
const cleanups: (() => void)[] = [];

/** Starts a Sentinel without a password; Sentinels rewrite their configuration file. */
async function startSentinel(): Promise<number> {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'longline-sentinel-'));
  const file = join(folder, 'sentinel.conf');
  writeFileSync(
    file,
    `port ${port}
bind 127.0.0.1
dir ${folder}
sentinel monitor ${MASTER} 127.0.0.1 ${master.port} 2
sentinel auth-pass ${MASTER} ${PASSWORD}
sentinel down-after-milliseconds ${MASTER} 1000
sentinel failover-timeout ${MASTER} 5000
`,
  );
  const server = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
  cleanups.push(() => {
    server.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });
  return port;
}

beforeAll(async () => {
  const args = ['--requirepass', PASSWORD, '--masterauth', PASSWORD];
  master = await startRedis([...args, '--repl-diskless-sync-delay', '0']);
  replica = await startRedis([...args, '--replicaof', `127.0.0.1 ${master.port}`]);
  sentinelPorts = [await startSentinel(), await startSentinel(), await startSentinel()];
  const sentinel = new Redis(sentinelPorts[0]!, '127.0.0.1');
  cleanups.push(() => sentinel.disconnect());
  await eventually(async () => {
    const [found] = (await sentinel.call('SENTINEL', 'masters')) as string[][];
    const field = (name: string) => found![found!.indexOf(name) + 1];
    return field('num-slaves') === '1' && field('num-other-sentinels') === '2';
  });
  link = await openRedis({
    // The first one is unreachable: the next ones are queried.
    urls: [1, ...sentinelPorts].map((port) => `redis://:${PASSWORD}@127.0.0.1:${port}`),
    sentinelMaster: MASTER,
    name: 'test',
    log,
    metrics: new Metrics(),
  });
});

afterAll(async () => {
  await link?.close();
  for (const cleanup of cleanups) cleanup();
  await replica?.stop();
  await master?.stop();
});

test('finds the master through Sentinels, and the new master after a failover', async () => {
  const channel = `ll:{${shardTags(4096)[17]}}`;
  const received: string[] = [];
  link.subscriber.subscribe(channel, {
    onMessage: (_, payload) => void received.push(payload.toString()),
    onConfirmed: () => {},
    onLost: () => {},
  });
  const isDelivered = async (text: string) => {
    await link.publish(channel, Buffer.from(text));
    return received.includes(text);
  };
  await eventually(() => isDelivered('before'));
  expect(link.subscriber.masters()).toEqual([`127.0.0.1:${master.port}`]);
  expect(await link.execute('set', ['ll:key', 'kept'])).toMatchObject({ type: 'done' });
  // A write that is not replicated yet may be lost.
  await eventually(async () => {
    const reader = new Redis(replica.port, '127.0.0.1', { password: PASSWORD });
    const value = await reader.get('ll:key').finally(() => reader.disconnect());
    expect(value).toBe('kept');
  });

  await master.kill('SIGKILL');
  await eventually(() => isDelivered('after'));
  expect(link.subscriber.masters()).toEqual([`127.0.0.1:${replica.port}`]);
  expect(await link.execute('get', ['ll:key'])).toMatchObject({ type: 'done', reply: 'kept' });
  // ioredis, which carries leadership and the assignment, follows too.
  await eventually(async () => (await link.commands.get('ll:key')) === 'kept');
});

test('reports why there is no master', async () => {
  const sentinels = [1, sentinelPorts[0]!].map((port) =>
    endpointOf(`redis://:${PASSWORD}@127.0.0.1:${port}`),
  );
  const result = await findMaster(sentinels, 'unknown', 'test');
  expect(result).toEqual({
    type: 'unavailable',
    reason: expect.stringMatching(/:1: .*ECONNREFUSED.*: it monitors no master named unknown$/),
  });
});

test('reaches the master at its address in the NAT map', async () => {
  const { port } = replica;
  const opened = await openRedis({
    urls: sentinelPorts.map((each) => `redis://:${PASSWORD}@127.0.0.1:${each}`),
    sentinelMaster: MASTER,
    natMap: { [`127.0.0.1:${port}`]: { host: 'localhost', port } },
    name: 'behind-nat',
    log,
    metrics: new Metrics(),
  });
  try {
    expect(opened.subscriber.masters()).toEqual([`localhost:${port}`]);
    expect(await opened.execute('get', ['ll:key'])).toEqual({ type: 'done', reply: 'kept' });
    expect(opened.commands.options).toMatchObject({ host: 'localhost', port });
  } finally {
    await opened.close();
  }
});
