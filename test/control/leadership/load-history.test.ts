import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  LoadHistory,
  POINT_MS,
  POINTS_MAX,
  quantile,
  ROUTERS_MAX,
} from '../../../control/leadership/load-history.js';
import type { EdgeRecord } from '../../../control/membership/edge-record.js';

const edgeOf = (connectionsOpened: number | undefined, incarnation = 'i1'): EdgeRecord => ({
  id: 'edge-1',
  incarnation,
  advertisedUrl: 'http://edge-1:7000',
  state: { type: 'alive', session: 1, leaseEndsAtMs: 20_000 },
  capacity: 100,
  zone: '',
  counts: {
    connections: 7,
    connectionsOpened,
    guests: 0,
    shardsSubscribed: 1,
    ready: true,
    shards: [],
  },
  heardAtMs: 0,
});

const loadOf = (written: number, incarnation = 'r1', fast = written) => ({
  routerId: 'router',
  ...{ version: '', commit: '', settings: {} },
  incarnation,
  stored: undefined,
  verdicts: [{ verdict: 'WRITTEN', pushes: written }],
  latencies: [
    { seconds: 0.001, pushes: fast },
    { seconds: Number.POSITIVE_INFINITY, pushes: written - fast },
  ],
  slowPushes: [],
});

test('a point has the growth of totals a second, over restarts and lost reports', () => {
  const history = new LoadHistory(0);
  // The first total may be old: this control may be a new leader.
  history.onRouter(loadOf(1_000), 0);
  history.tick([edgeOf(500)], 1_000);
  expect(history.points).toEqual([]);
  history.tick([edgeOf(500)], POINT_MS);
  expect(history.points[0]).toMatchObject({ connections: 7, connectsPerSecond: 0 });
  history.onRouter(loadOf(1_050), 6_000);
  history.onRouter(loadOf(1_100), 9_000);
  history.onEvent();
  history.tick([edgeOf(520)], 2 * POINT_MS);
  expect(history.points[1]).toEqual({
    atMs: 2 * POINT_MS,
    connections: 7,
    connectsPerSecond: 4,
    eventsPerSecond: 0.2,
    pushesPerSecond: { WRITTEN: 20 },
    p50: 0.0005,
    p99: 0.00099,
  });
  history.onRouter(loadOf(3, 'r2'), 11_000);
  history.onRouter(loadOf(8, 'r2'), 12_000);
  history.tick([edgeOf(2, 'i2')], 3 * POINT_MS);
  expect(history.points[2]).toMatchObject({
    connectsPerSecond: 0,
    pushesPerSecond: { WRITTEN: 1 },
  });
  history.tick([edgeOf(undefined)], 4 * POINT_MS);
  expect(history.points[3]).toMatchObject({
    connectsPerSecond: 0,
    pushesPerSecond: {},
    p50: undefined,
  });
});

test('points and routers are bounded, and a silent router is forgotten', () => {
  const history = new LoadHistory(0);
  for (let i = 0; i <= ROUTERS_MAX; i++) history.onRouter(loadOf(1, `r${i}`), 0);
  expect(history.routers.length).toBe(ROUTERS_MAX);
  for (let i = 1; i <= POINTS_MAX + 5; i++) history.tick([], i * POINT_MS);
  expect(history.points.length).toBe(POINTS_MAX);
  expect(history.points[0]!.atMs).toBe(6 * POINT_MS);
  expect(history.routers).toEqual([]);
});

test('a quantile lies within its bucket and grows with the share', () => {
  const counts = fc.array(fc.nat(1_000), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(counts, fc.nat(1_000), (each, thousandths) => {
      const share = thousandths / 1_000;
      const buckets = new Map(each.map((count, i) => [i + 1, count]));
      const value = quantile(buckets, share);
      const all = each.reduce((sum, count) => sum + count, 0);
      if (all * share === 0) return value === undefined;
      const bucket = Math.ceil(value!);
      const upTo = (last: number) => each.slice(0, last).reduce((sum, count) => sum + count, 0);
      expect(upTo(bucket)).toBeGreaterThanOrEqual(share * all * (1 - 1e-9));
      expect(upTo(bucket - 1)).toBeLessThanOrEqual(share * all * (1 + 1e-9));
      expect(quantile(buckets, 1)!).toBeGreaterThanOrEqual(value!);
      return true;
    }),
  );
  expect(
    quantile(
      new Map([
        [1, 1],
        [Number.POSITIVE_INFINITY, 9],
      ]),
      0.99,
    ),
  ).toBe(1);
});
