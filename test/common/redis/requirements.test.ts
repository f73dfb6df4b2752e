/** The requirements on Redis: judged from texts, and against a real Redis that changes. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { type Logger, pino } from 'pino';
import { EnvironmentError } from '../../../common/process/lifecycle.js';
import { Metrics } from '../../../common/process/metrics.js';
import { openRedis, type RedisLink } from '../../../common/redis/redis-link.js';
import {
  findUnmet,
  type Required,
  readFacts,
  rejectVersion,
} from '../../../common/redis/requirements.js';
import { RequirementsWatch } from '../../../common/redis/requirements-watch.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { eventually } from '../../support/eventually.js';

test.each(['7.0.0', '7.0.15', '8.2.1', '10.0.0'])('Redis %s is new enough', (version) => {
  expect(rejectVersion(version)).toBeUndefined();
});

test.each(['6.2.14', '5.0.7', 'unknown'])('Redis %s is rejected', (version) => {
  expect(rejectVersion(version)).toBe(`Redis is ${version}; sharded pub/sub needs 7.0.0 or newer`);
});

describe('a server', () => {
  const NONE: Required = {
    evictionAccepted: undefined,
    isFsynced: false,
    hadAppendOnlyFile: false,
  };
  const GOOD = {
    redis_version: '7.0.15',
    run_id: 'a',
    maxmemory_policy: 'noeviction',
    aof_enabled: '1',
    aof_last_write_status: 'ok',
  };

  function unmet(
    info: Record<string, string>,
    required: Partial<Required> = {},
    settings: string[] = [],
  ): string[] {
    const text = Object.entries({ ...GOOD, ...info }).map(
      ([name, value]) => `${name}:${value}\r\n`,
    );
    const facts = readFacts(`# Server\r\n${text.join('')}`, settings);
    return findUnmet(facts, { ...NONE, ...required }).map(({ requirement }) => requirement);
  }

  test('that fits meets all of them', () => {
    expect(unmet({})).toEqual([]);
  });

  test.each(['volatile-lru', 'volatile-ttl', 'allkeys-lru', 'allkeys-random', 'allkeys-lrm'])(
    'with the policy %s does not, unless that very policy is accepted',
    (policy) => {
      expect(unmet({ maxmemory_policy: policy })).toEqual(['eviction']);
      expect(unmet({ maxmemory_policy: policy }, { evictionAccepted: policy })).toEqual([]);
      expect(unmet({ maxmemory_policy: policy }, { evictionAccepted: 'volatile-lfu' })).toEqual([
        'eviction',
      ]);
    },
  );

  test('whose clock is certainly not this one does not', () => {
    const clock = (offsetMs: number, errorMs: number) =>
      findUnmet(readFacts('', []), NONE, { offsetMs, errorMs }).filter(
        ({ requirement }) => requirement === 'clock',
      );
    expect(clock(4_900, 10)).toEqual([]);
    expect(clock(-6_000, 1_500)).toEqual([]);
    expect(clock(-90_000, 10)).toMatchObject([
      { reason: expect.stringContaining("its clock is 90 s behind this machine's") },
    ]);
  });

  test('without an append-only file does not where there was one', () => {
    expect(unmet({ aof_enabled: '0' })).toEqual([]);
    expect(unmet({ aof_enabled: '0' }, { hadAppendOnlyFile: true })).toEqual(['persistence']);
    expect(unmet({ aof_last_write_status: 'err' })).toEqual(['persistence']);
  });

  test('that does not sync each write does not where fsynced is promised', () => {
    const fsynced = [
      'appendonly',
      'yes',
      'appendfsync',
      'always',
      'no-appendfsync-on-rewrite',
      'no',
    ];
    expect(unmet({}, { isFsynced: true }, fsynced)).toEqual([]);
    expect(unmet({}, { isFsynced: true }, fsynced.with(3, 'everysec'))).toEqual(['fsynced']);
    expect(unmet({}, { isFsynced: true })).toEqual(['fsynced']);
  });

  test('with tiny buffers for subscribers does not; a hidden setting is not assumed', () => {
    const limits = (pubsub: string) => [
      'client-output-buffer-limit',
      `normal 0 0 0 slave 268435456 67108864 60 pubsub ${pubsub}`,
    ];
    expect(unmet({}, {}, limits('33554432 8388608 60'))).toEqual([]);
    expect(unmet({}, {}, limits('0 0 0'))).toEqual([]);
    expect(unmet({}, {}, limits('65536 0 0'))).toEqual(['subscriber-buffer']);
    expect(unmet({}, {}, limits('0 1000 1'))).toEqual(['subscriber-buffer']);
  });
});

describe('a real Redis', () => {
  let redis: TestRedis;
  let direct: Redis;
  let link: RedisLink | undefined;
  const lines: string[] = [];
  const log: Logger = pino({ level: 'info' }, { write: (line) => void lines.push(line) });

  beforeEach(async () => {
    lines.length = 0;
    redis = await startRedis();
    direct = new Redis(redis.port, '127.0.0.1');
  });

  afterEach(async () => {
    direct.disconnect();
    await link?.close();
    link = undefined;
    await redis.stop();
  });

  async function open(evictionAccepted?: string): Promise<Metrics> {
    const metrics = new Metrics();
    link = await openRedis({ urls: [redis.url], evictionAccepted, name: 'test', log, metrics });
    return metrics;
  }

  /** Until the first reading: the counter of evicted keys has a sample. */
  async function untilRead(metrics: Metrics): Promise<void> {
    await eventually(async () => {
      await link!.requirements.poll();
      return Number.isFinite(await evictedKeys(metrics));
    });
  }

  async function evictedKeys(metrics: Metrics): Promise<number> {
    const text = await metrics.registry.getSingleMetricAsString(
      'longline_redis_evicted_keys_total',
    );
    return Number(text.match(/"} (\d+)/)?.[1]);
  }

  const unmetLines = () => lines.filter((line) => line.includes('is not met'));

  test('with an evicting policy is rejected at the start, unless that policy is accepted', async () => {
    await direct.config('SET', 'maxmemory-policy', 'volatile-lru');
    const opening = open();
    await expect(opening).rejects.toThrow(EnvironmentError);
    await expect(opening).rejects.toThrow(
      /maxmemory-policy is volatile-lru.*CONFIG SET maxmemory-policy noeviction.*LONGLINE_REDIS_EVICTION_ACCEPTED=volatile-lru/,
    );
    await expect(open('allkeys-lru')).rejects.toThrow(EnvironmentError);
    await open('volatile-lru');
    await link!.requirements.poll();
    expect(link!.requirements.unmetReasons()).toEqual([]);
  });

  test('is watched: each change is logged once, is a reason and a metric', async () => {
    const metrics = await open();
    const count = async (requirement: string) => {
      const text = await metrics.registry.getSingleMetricAsString(
        'longline_redis_requirement_unmet',
      );
      return Number(text.match(`requirement="${requirement}"} (\\d+)`)?.[1]);
    };
    await untilRead(metrics);
    expect(link!.requirements.unmetReasons()).toEqual([]);
    await direct.config('SET', 'maxmemory-policy', 'allkeys-lru');
    await eventually(() => link!.requirements.unmetReasons().length === 1);
    for (let i = 0; i < 3; i++) await link!.requirements.poll();
    expect(link!.requirements.unmetReasons()[0]).toContain('maxmemory-policy is allkeys-lru');
    expect(await count('eviction')).toBe(1);
    expect(await count('version')).toBe(0);
    expect(unmetLines()).toHaveLength(1);

    await direct.config('SET', 'maxmemory-policy', 'noeviction');
    await eventually(() => link!.requirements.unmetReasons().length === 0);
    expect(await count('eviction')).toBe(0);
    expect(lines.filter((line) => line.includes('met again'))).toHaveLength(1);
  });

  test('that forbids CONFIG is judged by INFO', async () => {
    await direct.call('ACL', 'SETUSER', 'default', '-config');
    await open();
    await direct.call('ACL', 'SETUSER', 'default', '+config');
    await direct.config('SET', 'maxmemory-policy', 'volatile-ttl');
    await eventually(() => link!.requirements.unmetReasons().length === 1);
  });

  test('that forbids CONFIG is not asked again, one that is slow to answer is', async () => {
    const metrics = await open();
    await untilRead(metrics);
    // The reply to INFO arrives, and that to CONFIG GET is late.
    const { run } = link!.requirements.options;
    const asked: string[] = [];
    let isSlow = true;
    const watch = new RequirementsWatch({
      ...link!.requirements.options,
      metrics: new Metrics(),
      run: (master, command, args) => {
        asked.push(command);
        const late = { type: 'unknown', reason: 'Command timed out' } as const;
        return command === 'config' && isSlow ? Promise.resolve(late) : run(master, command, args);
      },
    });
    await direct.config('SET', 'maxmemory-policy', 'allkeys-lru');
    await watch.poll();
    isSlow = false;
    await watch.poll();
    expect(watch.unmetReasons()[0]).toContain('maxmemory-policy is allkeys-lru');
    isSlow = true;
    await watch.poll();
    expect(watch.unmetReasons()).toHaveLength(1);
    isSlow = false;
    await direct.call('ACL', 'SETUSER', 'default', '-config');
    await watch.poll();
    await direct.call('ACL', 'SETUSER', 'default', '+config');
    asked.length = 0;
    await watch.poll();
    expect(asked).toEqual(['info']);
  });

  test('that is a master no more has no number of evicted keys', async () => {
    const metrics = new Metrics();
    await open();
    const { options } = link!.requirements;
    let masters = options.masters();
    const watch = new RequirementsWatch({ ...options, metrics, masters: () => masters });
    // The connection may not be ready yet.
    await eventually(async () => {
      await watch.poll();
      expect(await evictedKeys(metrics)).toBe(0);
    });
    const former = masters;
    masters = [];
    await watch.poll();
    expect(await evictedKeys(metrics)).toBeNaN();
    masters = former;
    await watch.poll();
    expect(await evictedKeys(metrics)).toBe(0);
  });

  test('that evicts is counted, also after CONFIG RESETSTAT', async () => {
    await direct.config('SET', 'maxmemory-policy', 'volatile-lru');
    const metrics = await open('volatile-lru');
    const evicted: (number | undefined)[] = [];
    link!.requirements.onEvicted = (_master, sinceMs) => evicted.push(sinceMs);
    await untilRead(metrics);
    await direct.config('SET', 'maxmemory', '4mb');
    const fill = async (count = 1_000) => {
      for (let i = 0; i < count; i++) await direct.set(`key ${i}`, 'x'.repeat(10_000), 'EX', 600);
    };
    const reported = async () =>
      Number((await direct.info('stats')).match(/evicted_keys:(\d+)/)![1]);
    await fill();
    expect(await reported()).toBeGreaterThan(100);
    await eventually(async () => (await evictedKeys(metrics)) === (await reported()));
    expect(evicted.length).toBeGreaterThan(0);
    expect(evicted.every((sinceMs) => sinceMs !== undefined)).toBe(true);
    // No more readings by itself: the next one finds fewer evictions than the last one.
    link!.requirements.close();
    await link!.requirements.poll();
    const before = await evictedKeys(metrics);
    await direct.config('RESETSTAT');
    await fill(50);
    const least = await reported();
    expect(least).toBeGreaterThan(0);
    await link!.requirements.poll();
    // A connection may make Redis evict a few more.
    expect(await reported()).toBeLessThan(before);
    expect(await evictedKeys(metrics)).toBeGreaterThanOrEqual(before + least);
  });
});
