/** Persistent MQTT sessions in a real Redis. */
import { expect, test } from '@jest/globals';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { MqttSessions, SESSION_SECONDS_MAX } from '../../../edge/session/mqtt-sessions.js';
import { useRedis } from '../../support/cluster/redis-link.js';
import { eventually } from '../../support/eventually.js';

const KEY = 'll:{7}:sub:a{b}:c';
const SENT_KEY = 'll:{7}:sent:a{b}:c';
const CLIENT = 'a{b}:c';
const DAY_SECONDS = 24 * 3600;

let link: RedisLink;
let sessions: MqttSessions;
useRedis((opened) => {
  link = opened;
  sessions = new MqttSessions(link, () => 'll:{7}');
});

const CLEAN = { isClean: true, isPersistent: false };
const CLEAN_PERSISTENT = { isClean: true, isPersistent: true };
const PERSISTENT = { isClean: false, isPersistent: true };
const NOT_PERSISTENT = { isClean: false, isPersistent: false };
const NEW = { isPresent: false, subscriptions: [], inFlight: [] };
const EMPTY = { ...NEW, isPresent: true };
const SUBSCRIPTIONS = [
  { filterHash: 0xffff_ffff, qos: 1 },
  { filterHash: 0, qos: 0 },
] as const;

test('finds stored subscriptions, which stay while the client is connected', async () => {
  sessions.store(CLIENT, SUBSCRIPTIONS);
  expect(await sessions.open(CLIENT, PERSISTENT)).toEqual({
    isPresent: true,
    subscriptions: SUBSCRIPTIONS,
    inFlight: [],
  });
  await link.commands.expire(KEY, 60);
  expect(await sessions.open(CLIENT, NOT_PERSISTENT)).toEqual({
    isPresent: true,
    subscriptions: SUBSCRIPTIONS,
    inFlight: [],
  });
  await eventually(async () => (await link.commands.ttl(KEY)) > 29 * DAY_SECONDS);
});

test('a persistent session is present at the next connect, also without subscriptions', async () => {
  for (const options of [PERSISTENT, CLEAN_PERSISTENT]) {
    await link.commands.flushall();
    expect(await sessions.open(CLIENT, options)).toEqual(NEW);
    expect(await sessions.open(CLIENT, PERSISTENT)).toEqual(EMPTY);
  }
});

test('a clean start discards the session', async () => {
  for (const options of [CLEAN, CLEAN_PERSISTENT]) {
    sessions.store(CLIENT, SUBSCRIPTIONS);
    expect(await sessions.open(CLIENT, options)).toEqual(NEW);
    expect(await sessions.open(CLIENT, PERSISTENT)).toMatchObject({ subscriptions: [] });
  }
});

test('a connect without a persistent session writes nothing', async () => {
  for (const options of [CLEAN, NOT_PERSISTENT]) {
    expect(await sessions.open(CLIENT, options)).toEqual(NEW);
  }
  expect(await link.commands.dbsize()).toBe(0);
});

test('a session expires as requested, after seven days at most', async () => {
  sessions.store(CLIENT, [{ filterHash: 1, qos: 1 }]);
  sessions.expire(CLIENT, 0xffff_ffff, []);
  await eventually(async () => (await link.commands.ttl(KEY)) <= SESSION_SECONDS_MAX);
  sessions.expire(CLIENT, 60, []);
  await eventually(async () => (await link.commands.ttl(KEY)) <= 60);
  sessions.expire(CLIENT, 0, []);
  await eventually(async () => (await link.commands.exists(KEY)) === 0);
});

test('pushes in flight at the disconnect are returned once, and expire with the session', async () => {
  const inFlight = [
    { packetId: 65_535, id: '1-0' },
    { packetId: 3, id: '2-3' },
  ];
  sessions.store(CLIENT, SUBSCRIPTIONS);
  sessions.expire(CLIENT, 60, inFlight);
  await eventually(async () => (await link.commands.ttl(SENT_KEY)) > 0);
  expect(await link.commands.ttl(SENT_KEY)).toBeLessThanOrEqual(60);
  expect(await sessions.open(CLIENT, PERSISTENT)).toEqual({
    isPresent: true,
    subscriptions: SUBSCRIPTIONS,
    inFlight,
  });
  expect(await sessions.open(CLIENT, PERSISTENT)).toEqual({
    isPresent: true,
    subscriptions: SUBSCRIPTIONS,
    inFlight: [],
  });
});

test('pushes in flight are discarded with the session', async () => {
  const inFlight = [{ packetId: 1, id: '1-0' }];
  for (const options of [CLEAN, CLEAN_PERSISTENT]) {
    sessions.store(CLIENT, SUBSCRIPTIONS);
    sessions.expire(CLIENT, 60, inFlight);
    await sessions.open(CLIENT, options);
    expect(await sessions.open(CLIENT, PERSISTENT)).toEqual({
      isPresent: options.isPersistent,
      subscriptions: [],
      inFlight: [],
    });
  }
  sessions.expire(CLIENT, 0, inFlight);
  await eventually(async () => (await link.commands.dbsize()) === 0);
});

test('ignores text that no edge has written', async () => {
  await link.commands.mset(KEY, 'nonsense', SENT_KEY, '7:none,such');
  expect(await sessions.open(CLIENT, PERSISTENT)).toEqual(EMPTY);
});
