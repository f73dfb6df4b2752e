import { describe, expect, test } from '@jest/globals';
import { edgesDesired } from '../../../control/membership/edges-desired.js';
import type { EdgeRecord, EdgeState } from '../../../control/membership/membership.js';

const ALIVE: EdgeState = { type: 'alive', session: 1, leaseEndsAtMs: 0 };
const SUSPECT: EdgeState = { type: 'suspect', vanishedAtMs: 0, leaseEndsAtMs: 0 };
const DEAD: EdgeState = { type: 'dead', forgetAtMs: 0 };

function edge(connections: number | undefined, state = ALIVE, capacity = 1_000): EdgeRecord {
  const counts = { guests: 0, shardsSubscribed: 0, ready: true, shards: [] };
  return {
    id: 'edge',
    incarnation: 'i',
    advertisedUrl: 'http://e',
    state,
    capacity,
    zone: '',
    counts: connections === undefined ? undefined : { ...counts, connections },
    heardAtMs: 0,
  };
}

describe('edgesDesired', () => {
  test('is so many that each is full to 0.7', () => {
    expect(edgesDesired([edge(700), edge(700)])).toBe(2);
    expect(edgesDesired([edge(701), edge(700)])).toBe(3);
    expect(edgesDesired([edge(2_000), edge(0), edge(0)])).toBe(3);
  });

  test('does not depend on how even they are', () => {
    expect(edgesDesired([edge(1_400), edge(0)])).toBe(edgesDesired([edge(700), edge(700)]));
  });

  test('takes the mean of different capacities', () => {
    expect(edgesDesired([edge(700, ALIVE, 500), edge(0, ALIVE, 1_500)])).toBe(1);
  });

  test('is one at least', () => {
    expect(edgesDesired([edge(0), edge(0)])).toBe(1);
  });

  test('counts an edge that is in doubt with what it held last, and none that is dead', () => {
    expect(edgesDesired([edge(700), edge(701, SUSPECT)])).toBe(3);
    expect(edgesDesired([edge(700), edge(undefined, DEAD)])).toBe(1);
  });

  test('is unknown while that of any edge is, and without edges', () => {
    expect(edgesDesired([edge(700), edge(undefined)])).toBeUndefined();
    expect(edgesDesired([edge(undefined, DEAD)])).toBeUndefined();
    expect(edgesDesired([])).toBeUndefined();
  });
});
