/** Persistent MQTT sessions in a real Redis. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { Metrics } from '../../../common/process/metrics.js';
import { openRedis, type RedisLink } from '../../../common/redis/redis-link.js';
import { MqttSessions, SESSION_SECONDS_MAX } from '../../../edge/session/mqtt-sessions.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { eventually } from '../../support/eventually.js';

const KEY = 'll:{7}:sub:a{b}:c';
const SENT_KEY = 'll:{7}:sent:a{b}:c';
const CLIENT = 'a{b}:c';
const DAY_SECONDS = 24 * 3600;

let redis: TestRedis;
let link: RedisLink;
let sessions: MqttSessions;

beforeAll(async () => {
  redis = await startRedis();
  const log = pino({ level: 'silent' });
  link = await openRedis({ urls: [redis.url], name: 'test', log, metrics: new Metrics() });
  sessions = new MqttSessions(link, () => '7');
});

afterAll(async () => {
  await link?.close();
  await redis?.stop();
});

beforeEach(async () => {
  await link.commands.flushall();
});

const CLEAN = { isClean: true, isPersistent: false };
const CLEAN_AND_KEPT = { isClean: true, isPersistent: true };
const KEPT = { isClean: false, isPersistent: true };
const ENDING = { isClean: false, isPersistent: false };
const GRANTS = [
  { filterHash: 0xffff_ffff, qos: 1 },
  { filterHash: 0, qos: 0 },
] as const;

test('what was stored is found, and stays while the client is connected', async () => {
  sessions.store(CLIENT, GRANTS);
  expect(await sessions.open(CLIENT, KEPT)).toEqual({ isPresent: true, subscriptions: GRANTS });
  await link.commands.expire(KEY, 60);
  expect(await sessions.open(CLIENT, ENDING)).toEqual({ isPresent: true, subscriptions: GRANTS });
  await eventually(async () => (await link.commands.ttl(KEY)) > 29 * DAY_SECONDS);
});

test('one that is kept is present the next time, without subscriptions, too', async () => {
  for (const wish of [KEPT, CLEAN_AND_KEPT]) {
    await link.commands.flushall();
    expect(await sessions.open(CLIENT, wish)).toEqual({ isPresent: false, subscriptions: [] });
    expect(await sessions.open(CLIENT, KEPT)).toEqual({ isPresent: true, subscriptions: [] });
  }
});

test('a clean one ends what was there', async () => {
  for (const wish of [CLEAN, CLEAN_AND_KEPT]) {
    sessions.store(CLIENT, GRANTS);
    expect(await sessions.open(CLIENT, wish)).toEqual({ isPresent: false, subscriptions: [] });
    expect(await sessions.open(CLIENT, KEPT)).toMatchObject({ subscriptions: [] });
  }
});

test('a client that wants no session writes nothing', async () => {
  for (const wish of [CLEAN, ENDING]) {
    expect(await sessions.open(CLIENT, wish)).toEqual({ isPresent: false, subscriptions: [] });
  }
  expect(await link.commands.dbsize()).toBe(0);
});

test('a session ends with the time that its client may be away, at most seven days', async () => {
  sessions.store(CLIENT, [{ filterHash: 1, qos: 1 }]);
  sessions.expire(CLIENT, 0xffff_ffff, undefined);
  await eventually(async () => (await link.commands.ttl(KEY)) <= SESSION_SECONDS_MAX);
  sessions.expire(CLIENT, 60, undefined);
  await eventually(async () => (await link.commands.ttl(KEY)) <= 60);
  sessions.expire(CLIENT, 0, undefined);
  await eventually(async () => (await link.commands.exists(KEY)) === 0);
});

test('what was in flight when the client left is found once, and lives as long as the session', async () => {
  const inFlight = { packetId: 65_535, ids: ['1-0', '2-3'] };
  sessions.store(CLIENT, GRANTS);
  sessions.expire(CLIENT, 60, inFlight);
  await eventually(async () => (await link.commands.ttl(SENT_KEY)) > 0);
  expect(await link.commands.ttl(SENT_KEY)).toBeLessThanOrEqual(60);
  expect(await sessions.open(CLIENT, KEPT)).toEqual({
    isPresent: true,
    subscriptions: GRANTS,
    inFlight,
  });
  expect(await sessions.open(CLIENT, KEPT)).toEqual({ isPresent: true, subscriptions: GRANTS });
});

test('what was in flight ends with the session', async () => {
  const inFlight = { packetId: 1, ids: ['1-0'] };
  for (const wish of [CLEAN, CLEAN_AND_KEPT]) {
    sessions.store(CLIENT, GRANTS);
    sessions.expire(CLIENT, 60, inFlight);
    await sessions.open(CLIENT, wish);
    expect(await sessions.open(CLIENT, KEPT)).toEqual({
      isPresent: wish.isPersistent,
      subscriptions: [],
    });
  }
  sessions.expire(CLIENT, 0, inFlight);
  await eventually(async () => (await link.commands.dbsize()) === 0);
});

test('what no edge has written is no subscription', async () => {
  await link.commands.mset(KEY, 'nonsense', SENT_KEY, '7:none,such');
  expect(await sessions.open(CLIENT, KEPT)).toEqual({ isPresent: true, subscriptions: [] });
});
