import { expect, test } from '@jest/globals';
import { ORIGIN } from '../../../common/wire/position.js';
import { EventLog } from '../../../control/leadership/event-log.js';
import type { LoggedEvent } from '../../../control/leadership/operations.js';

test('returns the events after an id, oldest first, and notifies watchers of later ones', () => {
  const log = new EventLog();
  log.append(1_000.4, ORIGIN, { type: 'frozen' });
  const watched: LoggedEvent[] = [];
  const stop = log.watch((event) => watched.push(event));
  log.append(2_000, ORIGIN, { type: 'unfrozen' });
  stop();
  log.append(3_000, ORIGIN, { type: 'frozen' });
  expect(log.after(0).map(({ id, atMs }) => [id, atMs])).toEqual([
    [1, 1_000],
    [2, 2_000],
    [3, 3_000],
  ]);
  expect(log.after(2).map(({ id }) => id)).toEqual([3]);
  expect(log.after(3)).toEqual([]);
  expect(watched.map(({ id }) => id)).toEqual([2]);
});

test('keeps the last 4,000', () => {
  const log = new EventLog();
  for (let i = 0; i < 10_000; i++) log.append(i, ORIGIN, { type: 'frozen' });
  const kept = log.after(0);
  expect(kept).toHaveLength(4_000);
  expect(kept.at(-1)!.id).toBe(10_000);
  expect(kept[0]!.id).toBe(6_001);
});
