import { describe, expect, test } from '@jest/globals';
import type { EdgeRecord, EdgeState } from '../../../control/membership/edge-record.js';
import { edgesDesired } from '../../../control/membership/edges-desired.js';

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
  test('lets each edge use 0.7 of its capacity', () => {
    expect(edgesDesired([edge(700), edge(700)])).toBe(2);
    expect(edgesDesired([edge(701), edge(700)])).toBe(3);
    expect(edgesDesired([edge(2_000), edge(0), edge(0)])).toBe(3);
  });

  test('does not depend on the distribution of connections', () => {
    expect(edgesDesired([edge(1_400), edge(0)])).toBe(edgesDesired([edge(700), edge(700)]));
  });

  test('uses the mean of different capacities', () => {
    expect(edgesDesired([edge(700, ALIVE, 500), edge(0, ALIVE, 1_500)])).toBe(1);
  });

  test('is at least one', () => {
    expect(edgesDesired([edge(0), edge(0)])).toBe(1);
  });

  test('counts a suspect edge with its last connections, and no dead edge', () => {
    expect(edgesDesired([edge(700), edge(701, SUSPECT)])).toBe(3);
    expect(edgesDesired([edge(700), edge(undefined, DEAD)])).toBe(1);
  });

  test('is unknown while the connections of any edge are unknown, and without edges', () => {
    expect(edgesDesired([edge(700), edge(undefined)])).toBeUndefined();
    expect(edgesDesired([edge(undefined, DEAD)])).toBeUndefined();
    expect(edgesDesired([])).toBeUndefined();
  });
});
