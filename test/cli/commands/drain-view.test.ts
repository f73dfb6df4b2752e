import { expect, test } from '@jest/globals';
import { viewDrain } from '../../../cli/commands/drain-view.js';
import type { EdgeView } from '../../../cli/control/api.js';

const edge: EdgeView = {
  id: 'edge-2',
  state: 'alive',
  intent: 'draining',
  advertisedUrl: 'http://edge-2:7000',
  shardsOwned: 3,
  shardsSubscribed: 3,
  connections: 40,
  guests: 0,
  ready: true,
  reasons: [],
};
const drain = {
  edgeId: 'edge-2',
  shardsPending: 1,
  shardsMoving: 2,
  clientsRemaining: 30,
  secondsRemaining: 3,
  delayedBy: null,
  waitingFor: null,
  finished: false,
};
const view = (drains: (typeof drain)[], edges: EdgeView[], isSeen = true) =>
  viewDrain('edge-2', { drains }, edges, isSeen);

test('returns the progress that control reports', () => {
  const others = [{ ...drain, edgeId: 'edge-1', finished: true }, drain];
  const expected = {
    type: 'draining',
    clients: 30,
    shards: 3,
    secondsRemaining: 3,
    delayedBy: null,
    waitingFor: null,
  };
  expect(view(others, [edge])).toEqual(expected);
  expect(view([{ ...drain, finished: true }], [edge])).toEqual({ type: 'finished' });
});

test('uses the intent while control reports no progress', () => {
  const expected = {
    type: 'draining',
    clients: 40,
    shards: 3,
    secondsRemaining: null,
    delayedBy: null,
    waitingFor: null,
  };
  expect(view([], [edge], false)).toEqual(expected);
  expect(view([], [{ ...edge, intent: 'none' }], false)).toEqual({ type: 'unknown' });
});

test('distinguishes an edge that has left from a cancelled drain', () => {
  expect(view([drain], [{ ...edge, state: 'dead' }])).toEqual({ type: 'gone' });
  expect(view([], [])).toEqual({ type: 'gone' });
  expect(view([], [{ ...edge, intent: null }])).toEqual({ type: 'gone' });
  expect(view([], [{ ...edge, intent: 'none' }])).toEqual({ type: 'cancelled' });
  expect(view([], [{ ...edge, intent: 'cordoned' }])).toEqual({ type: 'cancelled' });
});
