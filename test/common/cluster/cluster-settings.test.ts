/**
 * A running process compares the settings in a real Redis with its own, and ends on another
 * cluster's.
 */
import { setImmediate as turnEnd } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { agreeOnSettings, watchSettings } from '../../../common/cluster/cluster-settings.js';
import { Metrics } from '../../../common/process/metrics.js';
import type { Outcome } from '../../../common/redis/execute.js';
import { openRedis, type RedisLink } from '../../../common/redis/redis-link.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { eventually } from '../../support/eventually.js';

const KEY = 'll:settings';
const settings = { shardCount: 4096, clusterName: 'production' };
const lines: string[] = [];
const log = pino({ level: 'warn' }, { write: (line) => void lines.push(line) });

let redis: TestRedis;
let direct: Redis;
let link: RedisLink;
/** The step that a process takes every two seconds; here, the tests take it. */
let compare: () => void;
/** The last read of the settings. */
let reading: Promise<Outcome<unknown>>;
/** Statuses with which the process would have ended. */
const exits: unknown[] = [];
const errors: string[] = [];

beforeAll(async () => {
  redis = await startRedis();
  direct = new Redis(redis.port, '127.0.0.1');
  direct.on('error', () => {});
  link = await openRedis({ urls: [redis.url], name: 'test', log, metrics: new Metrics() });
  await agreeOnSettings(link, settings);
  jest.spyOn(process, 'exit').mockImplementation((code) => void exits.push(code) as never);
  jest.spyOn(process.stderr, 'write').mockImplementation((text) => errors.push(`${text}`) > 0);
  const execute: RedisLink['execute'] = (name, args, replyAs) => {
    const outcome = link.execute<never>(name, args, replyAs);
    reading = outcome;
    return outcome;
  };
  const setInterval = jest.spyOn(globalThis, 'setInterval');
  watchSettings({ ...link, execute }, settings);
  [compare] = setInterval.mock.calls[0] as [() => void];
  clearInterval(setInterval.mock.results[0]!.value as NodeJS.Timeout);
});

afterAll(async () => {
  jest.restoreAllMocks();
  direct.disconnect();
  await link.close();
  await redis.stop();
});

beforeEach(async () => {
  lines.length = 0;
  exits.length = 0;
  errors.length = 0;
  await direct.hset(KEY, { shardCount: 4096, clusterName: 'production' });
  await untilRead();
});

/** Until the settings were read that are in Redis now. */
async function untilRead(): Promise<void> {
  await eventually(async () => {
    compare();
    const { type } = await reading;
    await turnEnd();
    return type === 'done';
  });
}

test('one read of other settings is logged, and ends nothing', async () => {
  await direct.hset(KEY, 'clusterName', 'staging');
  await untilRead();
  await direct.hset(KEY, 'clusterName', 'production');
  await untilRead();
  await direct.hset(KEY, 'clusterName', 'staging');
  await untilRead();
  expect(lines.filter((line) => line.includes('settings of another cluster'))).toHaveLength(2);
  expect(exits).toEqual([]);
});

test('two reads in a row from two servers end nothing, two from one server do', async () => {
  await direct.hset(KEY, 'shardCount', 1024);
  await untilRead();
  await redis.kill('SIGKILL');
  await redis.restart();
  await eventually(() => direct.hset(KEY, 'shardCount', 1024));
  await untilRead();
  expect(exits).toEqual([]);
  await untilRead();
  expect(exits).toEqual([78]);
  expect(errors).toEqual([
    'LONGLINE_SHARD_COUNT is 4096, but this cluster was started with 1024; set it to 1024\n',
  ]);
});

test.each(['5096', '$096', '32768'])(
  'a shard count of "%s" is damaged: running processes go on, and no other one starts',
  async (damaged) => {
    await direct.hset(KEY, 'shardCount', damaged);
    const text = `shardCount under ${KEY} in Redis is damaged: "${damaged}" is not a power of two`;
    await expect(agreeOnSettings(link, settings)).rejects.toThrow(text);
    await expect(agreeOnSettings(link, settings)).rejects.toThrow(
      `redis-cli HSET ${KEY} shardCount 4096`,
    );
    await untilRead();
    await untilRead();
    expect(lines.filter((line) => line.includes('is damaged'))).toHaveLength(1);
    expect(exits).toEqual([]);
  },
);
