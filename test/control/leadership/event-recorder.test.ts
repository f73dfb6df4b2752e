/**
 * Goal: the event log outlives every control, and every control shows the same one.
 * Method: several recorders on a real Redis, of which one leads.
 */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { Metrics } from '../../../common/process/metrics.js';
import { RedisNames } from '../../../common/redis/redis-names.js';
import { KEPT_MAX } from '../../../control/leadership/event-log.js';
import { EventRecorder } from '../../../control/leadership/event-recorder.js';
import { connectFailingFast, startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { eventually } from '../../support/eventually.js';

let server: TestRedis;
let redis: Redis;
let tickers: NodeJS.Timeout[];

beforeEach(async () => {
  server = await startRedis();
  redis = await connectFailingFast(server.url);
  tickers = [];
});
afterEach(async () => {
  for (const ticker of tickers) clearInterval(ticker);
  redis.disconnect();
  await server.stop();
});

function start() {
  const metrics = new Metrics();
  const recorder = new EventRecorder(
    { commands: redis, names: new RedisNames('') },
    pino({ level: 'silent' }),
    metrics,
  );
  tickers.push(setInterval(() => recorder.tick(), 50));
  const types = () => recorder.log.after(0).map(({ entry }) => entry.type);
  const ids = () => recorder.log.after(0).map(({ id }) => id);
  return { recorder, metrics, types, ids };
}

const at = (epoch: number) => ({ incarnation: 1, epoch });
const operator = {
  type: 'operator',
  action: 'pause',
  edgeId: '',
  actor: 'ada',
  reason: 'ü',
} as const;
const joined = { type: 'edge-joined', edgeId: 'edge-1' } as const;
const move = { type: 'move-started', shard: 0, from: 'edge-1', to: 'edge-2' } as const;

test('the next leader continues the log of a leader that died, and followers show the same', async () => {
  const follower = start();
  const first = start();
  first.recorder.lead();
  first.recorder.record(Date.now(), at(1), operator);
  first.recorder.record(Date.now(), at(1), joined);
  await eventually(() => follower.types().length === 2);
  await first.recorder.flush();
  first.recorder.follow();
  first.recorder.record(Date.now(), at(1), { type: 'frozen' });
  const second = start();
  second.recorder.lead();
  second.recorder.record(Date.now(), at(1), { type: 'leader-changed', controlId: 'control-2' });
  const all = ['operator', 'edge-joined', 'leader-changed'];
  await eventually(() => expect(first.types()).toEqual(all));
  await eventually(() => expect(follower.types()).toEqual(all));
  expect(second.types()).toEqual(all);
  expect(new Set([first, second, follower].map(({ ids }) => `${ids()}`)).size).toBe(1);
  expect(second.recorder.log.after(0)[0]!.entry).toEqual(operator);
});

test('a change that the leader before has recorded is not recorded twice', async () => {
  const first = start();
  first.recorder.lead();
  await first.recorder.flush();
  first.recorder.record(Date.now(), at(2), joined);
  await eventually(async () => expect(await redis.exists('ll:{events}:cluster')).toBe(1));
  first.recorder.follow();
  const second = start();
  second.recorder.lead();
  second.recorder.record(Date.now(), at(2), joined);
  second.recorder.record(Date.now(), at(2), operator);
  second.recorder.record(Date.now(), at(3), move);
  await eventually(() =>
    expect(second.types()).toEqual(['edge-joined', 'operator', 'move-started']),
  );
});

test('stores each kind within its bound and with a lifetime', async () => {
  const { recorder } = start();
  recorder.lead();
  recorder.record(Date.now(), at(1), operator);
  for (let i = 0; i < KEPT_MAX.moves + 500; i++) recorder.record(Date.now(), at(1), move);
  const count = (kind: string) => redis.xlen(`ll:{events}:${kind}`);
  await eventually(async () => expect(await count('moves')).toBe(KEPT_MAX.moves));
  await recorder.flush();
  expect([await count('operator'), await count('moves')]).toEqual([1, KEPT_MAX.moves]);
  const lifetime = await redis.pttl('ll:{events}:operator');
  expect(lifetime).toBeGreaterThan(6 * 86_400_000);
  expect(lifetime).toBeLessThanOrEqual(7 * 86_400_000);
});

test('while Redis is away events are shown at once, and stored later', async () => {
  const { recorder, types, metrics } = start();
  recorder.lead();
  await recorder.flush();
  await eventually(() => redis.status === 'ready');
  recorder.record(Date.now(), at(1), joined);
  await eventually(() => types().length === 1);
  await server.kill('SIGKILL');
  recorder.record(Date.now(), at(1), operator);
  await eventually(() => types().length === 2);
  for (let i = 0; i < 6_000; i++) recorder.record(Date.now(), at(1), move);
  await server.restart();
  const follower = start();
  await eventually(() => follower.types().length === KEPT_MAX.moves);
  const [counted] = (
    await metrics.registry.getSingleMetric('longline_control_events_unstored_total')!.get()
  ).values;
  expect(counted!.value).toBeGreaterThanOrEqual(1_001);
});

test('starts a log of its own when what is stored is garbage', async () => {
  await redis.set('ll:{events}:moves', 'x');
  await redis.xadd('ll:{events}:cluster', '5-0', 'e', '{"id":"x"}');
  const { recorder, types } = start();
  recorder.lead();
  recorder.record(Date.now(), at(1), operator);
  await eventually(() => expect(types()).toEqual(['operator']));
});
