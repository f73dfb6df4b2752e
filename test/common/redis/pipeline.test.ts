import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { endpointOf } from '../../../common/redis/connection.js';
import { RedisPipeline } from '../../../common/redis/pipeline.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { eventually } from '../../support/eventually.js';

let redis: TestRedis;
let pipeline: RedisPipeline;

async function open(url: string): Promise<RedisPipeline> {
  const opened = new RedisPipeline(endpointOf(url), 'pipeline-under-test');
  await eventually(() => expect(opened.isReady).toBe(true));
  return opened;
}

beforeEach(async () => {
  redis = await startRedis();
  pipeline = await open(redis.url);
});

afterEach(async () => {
  pipeline.close();
  await redis.stop();
});

test('each command gets its own reply, in order, as text or bytes', async () => {
  const running = Array.from({ length: 5_000 }, (_, i) => pipeline.execute('incr', [`n${i % 3}`]));
  const outcomes = await Promise.all(running);
  expect(outcomes.map((outcome) => outcome.type === 'done' && outcome.reply)).toEqual(
    Array.from({ length: 5_000 }, (_, i) => Math.floor(i / 3) + 1),
  );
  const bytes = Buffer.from([0, 255, 13, 10]);
  await pipeline.execute('set', ['b', bytes]);
  expect(await pipeline.execute('get', ['b'], 'bytes')).toEqual({ type: 'done', reply: bytes });
  expect(await pipeline.execute('mget', ['n0', 'nothing'])).toEqual({
    type: 'done',
    reply: ['1667', null],
  });
});

test('sends and receives a value of megabytes', async () => {
  const value = Buffer.alloc(3_000_000, 'x');
  await pipeline.execute('set', ['big', value]);
  const outcome = await pipeline.execute<Buffer>('get', ['big'], 'bytes');
  expect(outcome.type === 'done' && outcome.reply.equals(value)).toBe(true);
});

test('a command that Redis rejects is rejected; a script that fails midway is unknown', async () => {
  const script = "redis.call('set', KEYS[1], 1) return redis.call('nonsense')";
  expect(await pipeline.execute('evalsha', ['0'.repeat(40), 0])).toMatchObject({
    type: 'rejected',
  });
  expect(await pipeline.execute('eval', [script, 1, 'k'])).toMatchObject({ type: 'unknown' });
  expect(await pipeline.execute('get', ['k'])).toEqual({ type: 'done', reply: '1' });
});

test('commands in flight on a lost connection are unknown, and the next connection works', async () => {
  await redis.kill('SIGSTOP');
  const running = [pipeline.execute('incr', ['n']), pipeline.execute('incr', ['n'])];
  await new Promise((resolve) => setTimeout(resolve, 50));
  await redis.kill('SIGKILL');
  for (const outcome of await Promise.all(running)) {
    expect(outcome).toEqual({ type: 'unknown', reason: 'Connection is closed.' });
  }
  expect(pipeline.isReady).toBe(false);
  await redis.restart();
  await eventually(() => expect(pipeline.isReady).toBe(true));
  expect(await pipeline.execute('incr', ['n'])).toEqual({ type: 'done', reply: 1 });
});

test('a command whose reply is late is unknown, and the reply goes to no other command', async () => {
  await redis.kill('SIGSTOP');
  const late = await pipeline.execute('incr', ['n']);
  expect(late).toEqual({ type: 'unknown', reason: 'Command timed out' });
  const next = pipeline.execute('incr', ['n']);
  await redis.kill('SIGCONT');
  expect(await next).toEqual({ type: 'done', reply: 2 });
});

test('a connection that is dialled again waits half a second for the commands in flight', async () => {
  // A server that is busy for that long; the ticks of the pipeline fall anywhere.
  const busy = (ms: number) =>
    pipeline.execute('eval', [
      `local function now() local t = redis.call('time') return t[1] * 1000 + t[2] / 1000 end
       local atMs = now()
       repeat until now() - atMs > ${ms}
       return 'done'`,
      0,
    ]);
  for (let round = 0; round < 4; round++) {
    const { runId } = pipeline;
    const startedMs = performance.now();
    const running = busy(200);
    pipeline.redial();
    pipeline.redial();
    expect(pipeline.isReady).toBe(false);
    const outcome = await running;
    // On a busy machine, the server may take longer than the pipeline waits.
    if (outcome.type === 'done') expect(outcome.reply).toBe('done');
    else expect(performance.now() - startedMs).toBeGreaterThanOrEqual(500);
    // It is closing or being set up: there is nothing to dial again.
    pipeline.redial();
    await eventually(() => expect(pipeline.isReady).toBe(true));
    expect(pipeline.runId).toBe(runId);
  }
  const late = busy(1_500);
  pipeline.redial();
  expect(await late).toEqual({ type: 'unknown', reason: 'Connection is closed.' });
  await eventually(() => expect(pipeline.isReady).toBe(true));
});

test('close resolves the commands in flight', async () => {
  await redis.kill('SIGSTOP');
  const running = pipeline.execute('incr', ['n']);
  pipeline.close();
  expect(await running).toMatchObject({ type: 'unknown' });
});

test('authenticates and sets its name on every connection', async () => {
  const locked = await startRedis(['--requirepass', 'secret']);
  const url = `redis://:secret@127.0.0.1:${locked.port}`;
  const guarded = await open(url);
  const observer = new Redis(url);
  try {
    for (const _ of ['first', 'again']) {
      await eventually(async () => {
        expect(await observer.client('LIST')).toMatch('name=pipeline-under-test ');
      });
      await guarded.execute('client', ['kill', 'type', 'normal', 'skipme', 'no']);
      await eventually(() => expect(guarded.isReady).toBe(true));
    }
  } finally {
    observer.disconnect();
    guarded.close();
    await locked.stop();
  }
});

test('a demoted server rejects all commands in flight, and is left until it is a master', async () => {
  pipeline.close();
  const seen: string[] = [];
  const onReadOnly = ({ runId }: { runId: string }) => void seen.push(runId);
  const options = { requiresMaster: true, onReadOnly, onConnected: () => {} };
  pipeline = new RedisPipeline(endpointOf(redis.url), 'pipeline-under-test', options);
  await eventually(() => expect(pipeline.isReady).toBe(true));
  const { runId } = pipeline;
  const admin = new Redis(redis.port, '127.0.0.1');
  await admin.replicaof('127.0.0.1', 1);
  const running = Array.from({ length: 100 }, (_, i) => pipeline.execute('incr', [`n${i}`]));
  for (const outcome of await Promise.all(running)) {
    expect(outcome).toMatchObject({ type: 'rejected', reason: expect.stringMatching(/^READONLY/) });
  }
  expect(seen).toEqual([runId]);
  expect(pipeline.isReady).toBe(false);
  await eventually(() => expect(pipeline.runId).toBe(''));
  await admin.replicaof('NO', 'ONE');
  await eventually(() => expect(pipeline.isReady).toBe(true));
  expect(pipeline.runId).toBe(runId);
  admin.disconnect();
});
