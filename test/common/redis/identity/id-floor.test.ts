import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { IdFloor } from '../../../../common/redis/identity/id-floor.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Unix ms when the monotonic clock is 0. */
const START_MS = 1_800_000_000_000;
/** After the time in which a process does not compare servers. */
const LATER_MS = 20_000;

let runs = 1;

/** A connection to a server that was just started. */
function connect(floor: IdFloor, serverMs: number, nowMs: number, runId = `${runs++}`): void {
  floor.onConnected({ address: 'redis:6379', runId, serverMs }, nowMs);
}

/** A process that has connected to a server whose clock is right. */
function started(): IdFloor {
  const floor = new IdFloor();
  connect(floor, START_MS, 0, '0');
  return floor;
}

test('is not raised, nor above the clock, while the server is the same, and its clock is right', () => {
  const floor = started();
  for (const sinceMs of [0, 1, HOUR_MS, DAY_MS, 30 * DAY_MS]) {
    const nowMs = LATER_MS + sinceMs;
    // It runs a little slower than the monotonic clock.
    const serverMs = START_MS + nowMs * (1 - 1e-4);
    floor.observe(serverMs, nowMs, nowMs);
    connect(floor, serverMs - 500, nowMs, '0');
    expect(floor.isRaised).toBe(false);
    expect(floor.at(nowMs)).toBeLessThanOrEqual(serverMs);
    expect(floor.at(nowMs)).toBeGreaterThan(serverMs - 1_000);
  }
});

test('is above what a clock that was just set back shows, before it is read again', () => {
  const floor = started();
  floor.observe(START_MS + LATER_MS, LATER_MS, LATER_MS);
  expect(floor.isRaised).toBe(false);
  expect(floor.at(LATER_MS + 1_900)).toBeGreaterThanOrEqual(START_MS + LATER_MS + 1_899);
});

test('is 0 before the first reading', () => expect(new IdFloor().at(LATER_MS)).toBe(0));

test.each([HOUR_MS, 0, -HOUR_MS])(
  'is above every time that a server can have shown, for another one whose clock is %d ms ahead',
  (aheadMs) => {
    const floor = started();
    floor.observe(START_MS + LATER_MS + HOUR_MS, LATER_MS, LATER_MS);
    const nowMs = LATER_MS + 5_000;
    connect(floor, START_MS + nowMs + aheadMs, nowMs);
    const shownMs = START_MS + nowMs + HOUR_MS;
    // Less what the clock may have run slower.
    expect(floor.at(nowMs)).toBeGreaterThanOrEqual(shownMs - 1);
    expect(floor.at(nowMs)).toBeLessThanOrEqual(shownMs + 1);
    // It goes on as a clock does.
    expect(floor.at(nowMs + DAY_MS)).toBeGreaterThan(shownMs + DAY_MS * 0.999);
  },
);

test('a clock that is set back raises it, without another server', () => {
  const floor = started();
  floor.observe(START_MS + LATER_MS + HOUR_MS, LATER_MS, LATER_MS);
  expect(floor.isRaised).toBe(false);
  floor.observe(START_MS + LATER_MS + 2_000, LATER_MS + 2_000, LATER_MS + 2_000);
  expect(floor.at(LATER_MS + 2_000)).toBeGreaterThan(START_MS + LATER_MS + HOUR_MS);
  expect(floor.isAboveClock(LATER_MS + 2_000)).toBe(true);
  const laterMs = LATER_MS + 10_000;
  floor.observe(START_MS + laterMs + 2 * HOUR_MS, laterMs, laterMs);
  expect(floor.isAboveClock(laterMs)).toBe(false);
});

test('a clock that is set back after an id that it made since it was read last', () => {
  const floor = started();
  floor.newestIdMs = () => START_MS + LATER_MS + HOUR_MS;
  floor.observe(START_MS, LATER_MS, LATER_MS);
  expect(floor.at(LATER_MS)).toBeGreaterThan(START_MS + LATER_MS + HOUR_MS);
});

test('an answer that was late does not look like a clock that is ahead, or was set back', () => {
  const floor = started();
  // Asked at once, and received three seconds later: the server had shown it early, then late.
  floor.observe(START_MS + LATER_MS, LATER_MS, LATER_MS + 3_000);
  floor.observe(START_MS + LATER_MS + 6_000, LATER_MS + 3_000, LATER_MS + 6_000);
  floor.observe(START_MS + LATER_MS + 7_000, LATER_MS + 7_000, LATER_MS + 10_000);
  expect(floor.isRaised).toBe(false);
  connect(floor, START_MS + LATER_MS + 10_000, LATER_MS + 10_000);
  expect(floor.at(LATER_MS + 10_000)).toBeLessThanOrEqual(START_MS + LATER_MS + 10_001);
});

test('a process that has just started knows nothing that a server may have lost', () => {
  const floor = started();
  connect(floor, START_MS - 500, 100);
  expect(floor.isRaised).toBe(false);
  connect(floor, START_MS + LATER_MS - 500, LATER_MS);
  expect(floor.at(LATER_MS)).toBeGreaterThan(START_MS + LATER_MS - 500);
});

test('is above the newest id that this process knows', () => {
  const floor = started();
  floor.newestIdMs = () => START_MS + HOUR_MS;
  connect(floor, START_MS + LATER_MS, LATER_MS);
  expect(floor.at(LATER_MS)).toBeGreaterThan(START_MS + HOUR_MS);
});

test('is higher for each other server', () => {
  const floor = started();
  connect(floor, START_MS + LATER_MS, LATER_MS, 'b');
  const first = floor.at(LATER_MS);
  // Another connection to the same server.
  connect(floor, START_MS + LATER_MS, LATER_MS, 'b');
  expect(floor.at(LATER_MS)).toBe(first);
  // Another server has been the master, and it is back.
  floor.follow(['other:6379']);
  connect(floor, START_MS + LATER_MS - HOUR_MS, LATER_MS, 'b');
  expect(floor.at(LATER_MS)).toBeGreaterThan(first);
});

test('a process that starts is told, and then compares servers at once', () => {
  const other = started();
  other.observe(START_MS + LATER_MS + HOUR_MS, LATER_MS, LATER_MS);
  connect(other, START_MS + LATER_MS, LATER_MS);
  const floor = started();
  const laterMs = LATER_MS + 1_500;
  floor.learn(other.known(LATER_MS), 3_000);
  expect(floor.at(3_000)).toBe(other.at(LATER_MS));
  connect(other, START_MS + laterMs, laterMs);
  connect(floor, START_MS + laterMs, 4_500);
  // It knows less by the time that has passed.
  expect(floor.at(4_500)).toBeGreaterThan(other.known(laterMs).shownMs - 1_600);
});

test('no id of a server that takes over is one of the servers before it, or lower', () => {
  const hours = fc.integer({ min: -2 * HOUR_MS, max: 2 * HOUR_MS });
  const server = fc.record({
    sinceMs: fc.integer({ min: 1, max: 3 * HOUR_MS }),
    // Its clock is set while it runs.
    aheadMs: fc.tuple(hours, hours),
  });
  fc.assert(
    fc.property(fc.array(server, { minLength: 1, maxLength: 20 }), (servers) => {
      const floor = started();
      let nowMs = LATER_MS;
      let highest = 0;
      for (const { sinceMs, aheadMs } of servers) {
        const [first, then] = aheadMs.map((ms) => START_MS + nowMs + ms) as [number, number];
        connect(floor, first, nowMs);
        // The lowest ids: the streams have none.
        const lowest = Math.max(floor.at(nowMs), Math.min(first, then));
        expect(lowest).toBeGreaterThanOrEqual(highest);
        floor.observe(first, nowMs, nowMs);
        floor.observe(then, nowMs, nowMs);
        const isSetBack = then < first - 1_000;
        highest = Math.max(highest, first, floor.at(nowMs));
        if (isSetBack) expect(floor.at(nowMs)).toBeGreaterThanOrEqual(highest);
        highest = Math.max(highest, then);
        nowMs += sinceMs;
      }
    }),
  );
});
