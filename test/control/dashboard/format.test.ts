import { expect, test } from '@jest/globals';
import { describeEvent } from '../../../control/dashboard/format.js';

const EVENT = { id: 1, atMs: 0, position: { incarnation: 1, epoch: 1 } };

test('an event says which edges it is about', () => {
  expect(describeEvent({ ...EVENT, type: 'shards-placed', to: 'edge-1', shards: 21 })).toBe(
    '21 shards on edge-1',
  );
  expect(
    describeEvent({ ...EVENT, type: 'intent-changed', edgeId: 'edge-1', intent: 'none' }),
  ).toBe('edge-1 is an ordinary edge again');
  const move = { shard: 7, from: 'edge-1', to: 'edge-2' };
  expect(describeEvent({ ...EVENT, type: 'move-started', ...move })).toBe(
    'shard 7 edge-1 → edge-2',
  );
});
