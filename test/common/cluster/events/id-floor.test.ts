/** Events of a Redis that may have lost some, against a real one. */
import { afterEach, expect, jest, test } from '@jest/globals';
import { writeBlocked } from '../../../../common/cluster/events/client-events.js';
import { markLostEvents } from '../../../../common/cluster/events/lost-events.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { replyOf, useRedis } from '../../../support/cluster/redis-link.js';
import { CHANNEL } from '../../../support/cluster/stored-push.js';

const BOUNDS = { countMax: 100, keepMs: 60_000 };
const HOUR_MS = 3_600_000;

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

afterEach(() => {
  jest.restoreAllMocks();
});

const write = () => writeBlocked(link, CHANNEL, 'alice', 1_000, BOUNDS);

async function events(): Promise<[id: string, type: string][]> {
  const entries = await link.commands.xrange(`${CHANNEL}:ev`, '-', '+');
  return entries.map(([id, texts]) => [id, texts[1]!]);
}

test('an evicted stream goes on above the floor, also before a clock is known as set back', async () => {
  const at = jest.spyOn(link.idFloor, 'at').mockReturnValue(0);
  await write();
  const floorMs = Date.now() + HOUR_MS;
  at.mockReturnValue(floorMs);
  await write();
  const idsMs = (await events()).map(([id]) => Number.parseInt(id, 10));
  expect(Math.max(...idsMs)).toBeLessThan(floorMs - HOUR_MS / 2);
  await link.commands.del(`${CHANNEL}:ev`);
  await write();
  await write();
  expect((await events()).map(([id]) => id)).toEqual([`${floorMs}-0`, `${floorMs}-1`]);
});

test('no id is below the floor, and a loss is told once above it', async () => {
  let floorMs = Date.now() + HOUR_MS;
  const at = jest.spyOn(link.idFloor, 'at');
  await write();
  // The clock of Redis was ahead, and this loss was told then.
  const told = `${floorMs - 1_000}-0`;
  await link.commands.xadd(`${CHANNEL}:ev`, told, 't', 'events_lost', 'c', '');
  at.mockImplementation(() => floorMs);
  jest.spyOn(link.idFloor, 'isRaised', 'get').mockReturnValue(true);
  await write();
  await write();
  const lost = `${floorMs - 500}-0`;
  expect(replyOf(await markLostEvents(link, CHANNEL, lost, 100, BOUNDS))).toBe(true);
  expect(replyOf(await markLostEvents(link, CHANNEL, lost, 100, BOUNDS))).toBe(true);
  floorMs += 1_000;
  await write();
  expect((await events()).slice(1)).toEqual([
    [told, 'events_lost'],
    [`${floorMs - 1_000}-0`, 'client.blocked'],
    [`${floorMs - 1_000}-1`, 'client.blocked'],
    [`${floorMs - 1_000}-2`, 'events_lost'],
    [`${floorMs}-0`, 'client.blocked'],
  ]);
  // A removed entry would look like an event that the consumers have lost.
  const info = (await link.commands.call('XINFO', 'STREAM', `${CHANNEL}:ev`)) as unknown[];
  expect(info[info.indexOf('entries-added') + 1]).toBe(6);
  expect(info[info.indexOf('max-deleted-entry-id') + 1]).toBe('0-0');
});
