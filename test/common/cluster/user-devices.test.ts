/** The devices of users in Redis: who is read back, for how long, and how many are kept. */
import { expect, test } from '@jest/globals';
import {
  noteDevices,
  readDevices,
  USER_DEVICES_KEPT,
} from '../../../common/cluster/presence/user-devices.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { useRedis } from '../../support/cluster/redis-link.js';

const CHANNEL = 'll:{7}';
const KEY = `${CHANNEL}:dev:alice`;
const HOUR_S = 3_600;
const NO_ENVELOPE = Buffer.alloc(0);

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

async function note(user: string, names: readonly string[], keepS = HOUR_S): Promise<void> {
  const devices = names.map((device) => ({ user, device }));
  const noted = await noteDevices(link, CHANNEL, devices, keepS, NO_ENVELOPE);
  expect(noted).toEqual({ type: 'done', reply: 0 });
}

async function read(user: string, countMax = 100): Promise<readonly string[]> {
  const outcome = await readDevices(link, CHANNEL, user, countMax);
  if (outcome.type !== 'done') throw new Error(outcome.reason);
  return outcome.reply;
}

test('devices are read back once each, also names with slashes, and of their user only', async () => {
  await note('alice', ['phone', 'tab/7', 'phone']);
  await note('bob', ['phone']);
  expect([...(await read('alice'))].sort()).toEqual(['phone', 'tab/7']);
  expect(await read('carol')).toEqual([]);
  expect(await read('alice', 1)).toHaveLength(1);
});

test('a device counts until its time is over, and one that connects again counts longer', async () => {
  await note('alice', ['old', 'again', 'new']);
  const [nowS] = await link.commands.time();
  const pastS = String(Number(nowS) - 1);
  for (const device of ['old', 'again']) await link.commands.zadd(KEY, pastS, device);
  expect(await read('alice')).toEqual(['new']);
  await note('alice', ['again']);
  expect([...(await read('alice'))].sort()).toEqual(['again', 'new']);
  const kept = await link.execute<string[]>('zrange', [KEY, 0, -1]);
  expect(kept).toMatchObject({ reply: expect.not.arrayContaining(['old']) });
});

test('the set lives as long as its newest device', async () => {
  await note('alice', ['phone'], HOUR_S);
  const ttlS = await link.commands.ttl(KEY);
  expect(ttlS).toBeGreaterThan(HOUR_S - 60);
  expect(ttlS).toBeLessThanOrEqual(HOUR_S);
});

test('of too many devices, those seen longest ago are forgotten', async () => {
  await note('alice', ['first'], HOUR_S);
  const later = Array.from({ length: USER_DEVICES_KEPT }, (_, i) => `device-${i}`);
  await note('alice', later, 2 * HOUR_S);
  const kept = await read('alice', 2 * USER_DEVICES_KEPT);
  expect(kept).toHaveLength(USER_DEVICES_KEPT);
  expect(kept).not.toContain('first');
});
