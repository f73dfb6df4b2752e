import { expect, test } from '@jest/globals';
import { ORIGIN } from '../../../common/wire/position.js';
import { EventLog, KEPT_MAX } from '../../../control/leadership/event-log.js';
import type { LoggedEvent } from '../../../control/leadership/operations.js';

const operator = {
  type: 'operator',
  action: 'drain',
  edgeId: 'edge-1',
  actor: 'ada',
  reason: '',
} as const;
const move = { type: 'move-started', shard: 0, from: 'edge-1', to: 'edge-2' } as const;

test('returns the events after an id, oldest first, and notifies watchers of later ones', () => {
  const log = new EventLog();
  log.append(1_000.4, ORIGIN, { type: 'frozen' });
  const watched: LoggedEvent[] = [];
  const stop = log.watch((event) => watched.push(event));
  log.append(2_000, ORIGIN, operator);
  stop();
  log.append(3_000, ORIGIN, { type: 'frozen' });
  expect(log.after(0).map(({ id, atMs }) => [id, atMs])).toEqual([
    [1_000, 1_000],
    [2_000, 2_000],
    [3_000, 3_000],
  ]);
  expect(log.after(2_000).map(({ id }) => id)).toEqual([3_000]);
  expect(log.after(3_000)).toEqual([]);
  expect(watched.map(({ id }) => id)).toEqual([2_000]);
});

test('ids grow within one millisecond, and when the clock is set back', () => {
  const log = new EventLog();
  for (const atMs of [1_000, 1_000, 1_000, 400, 1_002]) log.append(atMs, ORIGIN, move);
  expect(log.after(0).map(({ id }) => id)).toEqual([1_000, 1_001, 1_002, 1_003, 1_004]);
});

test('continues the ids of another control, and does not go back', () => {
  const log = new EventLog();
  log.adopt({ id: 5_000, atMs: 1_000, position: ORIGIN, entry: operator });
  log.adopt({ id: 4_999, atMs: 1_000, position: ORIGIN, entry: operator });
  expect(log.append(2_000, ORIGIN, move).id).toBe(5_001);
  expect(log.after(0).map(({ id }) => id)).toEqual([5_000, 5_001]);
});

test('keeps the latest of each kind, so that moves do not push out other events', () => {
  const log = new EventLog();
  log.append(0, ORIGIN, operator);
  log.append(0, ORIGIN, { type: 'edge-joined', edgeId: 'edge-1' });
  const rejected = { type: 'edge-rejected', edgeId: 'edge-1', reason: 'in use' } as const;
  for (let i = 0; i < 10_000; i++) {
    log.append(i, ORIGIN, move);
    log.append(i, ORIGIN, rejected);
  }
  const kept = log.after(0);
  expect(kept.slice(0, 2).map(({ entry }) => entry.type)).toEqual(['operator', 'edge-joined']);
  expect(kept).toHaveLength(2 + KEPT_MAX.moves + KEPT_MAX.rejections);
  expect(kept.at(-2)!.entry).toEqual(move);
  expect(kept.map(({ id }) => id)).toEqual(kept.map(({ id }) => id).sort((a, b) => a - b));
});
