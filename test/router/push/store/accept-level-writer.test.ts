/**
 * Goal: an accept level is reported only when it holds.
 * Method: a real master, with and without a replica that can be stopped, and with the settings
 * that make a reply mean "on disk".
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { type Stored, type StorePush, storePush } from '../../../../common/cluster/inbox/push.js';
import { Metrics } from '../../../../common/process/metrics.js';
import { openRedis, type RedisLink } from '../../../../common/redis/redis-link.js';
import { AcceptLevel } from '../../../../proto/gen/longline/v1/push.js';
import {
  AcceptLevelWriters,
  type RequiredLevel,
  type StoreOutcome,
} from '../../../../router/push/store/accept-level-writer.js';
import { startRedis, type TestRedis } from '../../../support/cluster/redis.js';
import { eventually } from '../../../support/eventually.js';

const BOUNDS = { countMax: 100, bytesMax: 1_000_000 };
const FSYNCED: RequiredLevel = { level: AcceptLevel.ACCEPT_LEVEL_FSYNCED, replicas: 0 };
const replicated = (replicas: number): RequiredLevel => ({
  level: AcceptLevel.ACCEPT_LEVEL_REPLICATED,
  replicas,
});

let master: TestRedis;
let replica: TestRedis;
let link: RedisLink;
let writers: AcceptLevelWriters;
const never = Number.POSITIVE_INFINITY;

beforeAll(async () => {
  master = await startRedis(['--repl-diskless-sync-delay', '0']);
  replica = await startRedis(['--replicaof', `127.0.0.1 ${master.port}`]);
  const log = pino({ level: 'silent' });
  link = await openRedis({ urls: [master.url], name: 'test', log, metrics: new Metrics() });
  writers = new AcceptLevelWriters(link, BOUNDS);
  // A replica that has just loaded is online and does not confirm writes for a while.
  const redis = new Redis(master.port);
  await eventually(async () => {
    await redis.set('warm', '1');
    expect(await redis.wait(1, 1_000)).toBe(1);
  });
  redis.disconnect();
});

afterAll(async () => {
  writers?.close();
  await link?.close();
  await replica?.stop();
  await master?.stop();
});

function push(idempotencyKey = ''): StorePush {
  const payload = Buffer.from('p');
  const rest = { contentType: '', ttlMs: 60_000, idempotencyKey };
  return { channel: 'll:{7}', clientId: 'a', envelope: payload, payload, ...rest };
}

async function stored(storing: Promise<StoreOutcome>) {
  const result = await storing;
  if (result.type !== 'stored') throw new Error(result.reason);
  return result;
}

describe('replicated', () => {
  test('is confirmed when the required number of replicas has the push', async () => {
    await eventually(async () => {
      expect(await writers.store(push(), replicated(1), never)).toMatchObject({
        type: 'stored',
        stored: { type: 'stored' },
        isConfirmed: true,
      });
    });
  });

  test('is not confirmed with fewer replicas, and the push is stored nevertheless', async () => {
    const before = await link.commands.xlen('ll:{7}:in:a');
    expect(await writers.store(push(), replicated(2), never)).toMatchObject({
      type: 'stored',
      isConfirmed: false,
    });
    expect(await link.commands.xlen('ll:{7}:in:a')).toBe(before + 1);
  });

  test('each push of a batch is judged by its own number of replicas', async () => {
    await eventually(async () => {
      const results = await Promise.all(
        [1, 2, 1, 2].map((count) => writers.store(push(), replicated(count), never)),
      );
      expect(results.map((result) => result.type === 'stored' && result.isConfirmed)).toEqual([
        true,
        false,
        true,
        false,
      ]);
    });
  });

  test('is confirmed on retry after a replica that did not confirm is back', async () => {
    await replica.kill('SIGSTOP');
    const first = await writers.store(push('k'), replicated(1), never);
    await replica.kill('SIGCONT');
    expect(first).toMatchObject({ type: 'stored', stored: { type: 'stored' }, isConfirmed: false });
    await eventually(async () => {
      expect(await writers.store(push('k'), replicated(1), never)).toMatchObject({
        type: 'stored',
        stored: { type: 'duplicate' },
        isConfirmed: true,
      });
    });
  });

  test('a duplicate is not confirmed merely because it wrote nothing', async () => {
    await writers.store(push('j'), replicated(1), never);
    await replica.kill('SIGSTOP');
    const again = await writers.store(push('j'), replicated(1), never);
    await replica.kill('SIGCONT');
    expect(again).toMatchObject({ stored: { type: 'duplicate' }, isConfirmed: false });
  });
});

test('a push is dropped if its wait ends while earlier ones wait for replicas', async () => {
  const before = await link.commands.xlen('ll:{7}:in:a');
  const first = writers.store(push(), replicated(99), never);
  await eventually(async () => {
    expect(await link.commands.xlen('ll:{7}:in:a')).toBe(before + 1);
  });
  // The WAIT of the first one blocks the connection for half a second.
  const late = writers.store(push(), replicated(1), performance.now() + 1);
  const next = writers.store(push(), replicated(0), never);
  expect(await first).toMatchObject({ type: 'stored', isConfirmed: false });
  expect(await late).toMatchObject({ type: 'rejected' });
  expect(await next).toMatchObject({ type: 'stored' });
  expect(await link.commands.xlen('ll:{7}:in:a')).toBe(before + 2);
});

describe('fsynced', () => {
  const settings: [string, string][] = [
    ['appendonly', 'yes'],
    ['appendfsync', 'always'],
    ['no-appendfsync-on-rewrite', 'no'],
  ];

  test('is unavailable unless every setting permits it, and then nothing is stored', async () => {
    for (const [name, value] of settings) await link.commands.config('SET', name, value);
    expect(await writers.store(push(), FSYNCED, never)).toMatchObject({
      type: 'stored',
      isConfirmed: true,
    });
    const wrong = [
      ['appendonly', 'no'],
      ['appendfsync', 'everysec'],
      ['no-appendfsync-on-rewrite', 'yes'],
    ] as const;
    for (const [i, [name, value]] of wrong.entries()) {
      await link.commands.config('SET', name, value);
      const before = await link.commands.xlen('ll:{7}:in:a');
      const result = await writers.store(push(), FSYNCED, never);
      const reason = `${name} is ${value}; the accept level fsynced needs ${settings[i]![1]}`;
      expect(result).toEqual({ type: 'unavailable', reason });
      expect(await link.commands.xlen('ll:{7}:in:a')).toBe(before);
      await link.commands.config('SET', name, settings[i]![1]);
    }
  });
});

test('a replicated push survives the loss of the master, an accepted one does not', async () => {
  const idOf = (stored: Stored) => (stored.type === 'stored' ? stored.id : '');
  const confirmed = await eventually(async () => {
    const outcome = await stored(writers.store(push(), replicated(1), never));
    expect(outcome.isConfirmed).toBe(true);
    return outcome;
  });
  // The replica is promoted without the master noticing: both accept writes for a while.
  const promoted = new Redis(replica.port);
  await promoted.replicaof('NO', 'ONE');
  const accepted = await storePush(link, push(), BOUNDS);
  const unconfirmed = await stored(writers.store(push(), replicated(1), never));
  expect(unconfirmed.isConfirmed).toBe(false);
  await master.kill('SIGKILL');
  const survived = (await promoted.xrange('ll:{7}:in:a', '-', '+')).map(([id]) => id);
  await promoted.replicaof('127.0.0.1', master.port);
  promoted.disconnect();
  await master.restart();
  expect(survived).toContain(idOf(confirmed.stored));
  expect(survived).not.toContain(idOf(unconfirmed.stored));
  if (accepted.type !== 'done') throw new Error(accepted.reason);
  expect(survived).not.toContain(idOf(accepted.reply));
});

test('a master that is down rejects, and accepts writes again when it is back', async () => {
  await master.kill('SIGKILL');
  const rejected = await writers.store(push(), replicated(1), never);
  expect(['rejected', 'unknown']).toContain(rejected.type);
  await master.restart();
  await eventually(async () => {
    const result = await writers.store(push(), replicated(1), never);
    expect(result).toMatchObject({ type: 'stored', isConfirmed: true });
  });
});
