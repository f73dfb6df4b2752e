/** The floor of new ids that processes have in common, against a real Redis. */
import { beforeEach, expect, test } from '@jest/globals';
import { shareIdFloor } from '../../../../common/cluster/clocks/shared-id-floor.js';
import { IdFloor } from '../../../../common/redis/identity/id-floor.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { useRedis } from '../../../support/cluster/redis-link.js';
import { eventually } from '../../../support/eventually.js';

const HOUR_MS = 3_600_000;

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

/** One for each test: the processes of the test before it are still there. */
let key = '';
let keys = 0;
beforeEach(() => {
  key = `id-floor-${++keys}`;
});

/** The same Redis, as another process sees it. */
const seenBy = (idFloor: IdFloor) =>
  ({ execute: link.execute, names: { idFloor: key }, idFloor }) as RedisLink;

/** A process that has seen the clock of Redis ahead, and then set right. */
function aheadBy(aheadMs: number): IdFloor {
  const idFloor = new IdFloor();
  const nowMs = performance.now();
  idFloor.observe(Date.now() + aheadMs, nowMs, nowMs);
  idFloor.observe(Date.now(), nowMs, nowMs);
  return idFloor;
}

test('all processes have the highest that one of them knows', async () => {
  const [first, second, third] = [aheadBy(HOUR_MS), aheadBy(HOUR_MS + 5_000), new IdFloor()];
  for (const idFloor of [first, second, third]) await shareIdFloor(seenBy(idFloor));
  await eventually(() => {
    const nowMs = performance.now();
    const highest = second.at(nowMs);
    for (const idFloor of [first, third]) {
      expect(idFloor.at(nowMs)).toBeLessThanOrEqual(highest);
      expect(idFloor.at(nowMs)).toBeGreaterThan(highest - 1_000);
    }
  });
});

test('nothing is kept or learned while the clock of Redis is enough', async () => {
  const idFloor = new IdFloor();
  const nowMs = performance.now();
  idFloor.observe(Date.now() - 1_000, nowMs, nowMs);
  await shareIdFloor(seenBy(idFloor));
  expect(idFloor.isRaised).toBe(false);
  expect(await link.commands.exists(key)).toBe(0);
});

test.each(['', 'one two three', '1 2', '-5 3 1', 'NaN NaN NaN'])(
  'a value that cannot be read (%j) is replaced',
  async (value) => {
    await link.commands.set(key, value);
    const idFloor = aheadBy(HOUR_MS);
    await shareIdFloor(seenBy(idFloor));
    const kept = (await link.commands.get(key))!.split(' ').map(Number);
    const floorMs = idFloor.at(performance.now());
    expect(kept[0]).toBeGreaterThan(floorMs - 60_000);
    expect(kept[0]).toBeLessThanOrEqual(floorMs);
  },
);

test.each([
  [10_000, 10_000],
  [-10_000, 0],
  [HOUR_MS, 0],
])(
  'what was written %d ms ago by the clock of Redis is %d ms later now',
  async (agoMs, laterMs) => {
    const atMs = Date.now() - agoMs;
    const shownMs = Date.now() + 2 * HOUR_MS;
    await link.commands.set(key, `${shownMs} 0 ${atMs}`);
    const idFloor = aheadBy(HOUR_MS);
    await shareIdFloor(seenBy(idFloor));
    const floorMs = idFloor.at(performance.now());
    expect(floorMs).toBeGreaterThanOrEqual(shownMs + laterMs - 10);
    expect(floorMs).toBeLessThanOrEqual(shownMs + laterMs + 10_000);
  },
);

test('a key of another type disturbs nothing', async () => {
  await link.commands.rpush(key, 'a');
  const idFloor = aheadBy(HOUR_MS);
  const floorMs = idFloor.at(performance.now());
  await shareIdFloor(seenBy(idFloor));
  expect(idFloor.at(performance.now())).toBeGreaterThanOrEqual(floorMs);
  await link.commands.del(key);
});
