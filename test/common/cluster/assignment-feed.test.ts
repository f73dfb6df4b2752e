import { beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { type Assignment, toWire } from '../../../common/cluster/assignment.js';
import { deltaBetween } from '../../../common/cluster/assignment-delta.js';
import { AssignmentFeed } from '../../../common/cluster/assignment-feed.js';
import { Metrics } from '../../../common/process/metrics.js';

const SHARDS = 4;
const log = pino({ level: 'silent' });

const at = (epoch: number, owner = 0): Assignment => ({
  position: { incarnation: 1, epoch },
  edges: ['a', 'b'].map((id) => {
    return { id, incarnation: 'i', advertisedUrl: `http://${id}:7000`, intent: 'none' as const };
  }),
  owners: new Uint16Array(SHARDS).fill(owner),
  moves: [],
  isBalancing: false,
});

let seen: number[];
let metrics: Metrics;
let feed: AssignmentFeed;

beforeEach(() => {
  seen = [];
  metrics = new Metrics();
  feed = new AssignmentFeed(({ position }) => seen.push(position.epoch), metrics, 'edge');
});

const offerWhole = (assignment: Assignment) =>
  feed.offerUpdate({ assignment: toWire(assignment), delta: undefined }, SHARDS, log);
const offerDelta = (before: Assignment, after: Assignment) =>
  feed.offerUpdate({ assignment: undefined, delta: deltaBetween(before, after) }, SHARDS, log);

test('follows deltas after the whole', () => {
  expect(offerWhole(at(1))).toBe(false);
  expect(offerDelta(at(1), at(2, 1))).toBe(false);
  expect(offerDelta(at(2, 1), at(5, 0))).toBe(false);
  expect(seen).toEqual([1, 2, 5]);
  expect(feed.current).toEqual(at(5, 0));
});

test('needs the whole for a delta that does not fit, and keeps what it has', async () => {
  expect(offerDelta(at(1), at(2))).toBe(true);
  offerWhole(at(2));
  expect(offerDelta(at(1), at(3))).toBe(true);
  // Another control has written another assignment of the same position.
  expect(offerDelta(at(2, 1), { ...at(3, 1), isBalancing: true })).toBe(true);
  expect(feed.current).toEqual(at(2));
  expect(await metrics.registry.metrics()).toContain(
    'longline_edge_assignment_deltas_rejected_total 3',
  );
  offerWhole(at(3));
  expect(seen).toEqual([2, 3]);
});

test('ignores a delta to what it has read from Redis already', () => {
  offerWhole(at(1));
  feed.offer(at(4));
  expect(offerDelta(at(1), at(3))).toBe(false);
  expect(seen).toEqual([1, 4]);
});
